// hf_quant_config.json and config.json's quantization_config, from the tensors as written
// (quant-formats 9).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mopt/exporter.h"
#include "scheme.hpp"

namespace mopt::hf {

struct Layer {
  std::string_view module;
  size_t algorithm = 0;  // index into Description::algorithms
  bool weight_only = false;
};

// What a checkpoint's texts say, before they are texts. Borrows the modules' names from the job.
struct Description {
  std::vector<Algorithm> algorithms;  // those with different layer entries, as they appear
  std::vector<Layer> layers;          // quantized modules, in model order
  std::vector<std::string> exclude;   // collapsed names of the others
  std::optional<std::string> kv;      // algorithm of the KV cache
  bool class_named = true;            // config.json says the model's class, or there is none
  bool empty() const { return layers.empty() && !kv; }
  // More than one layer entry: MIXED_PRECISION.
  bool mixed() const { return algorithms.size() > 1; }
};

// The source's config.json; null when there is none. Throws MOPT_DATA_LOSS when it is not JSON.
Json parse_config(std::string_view text);

std::string json_text(const Json& json, int indent);

Description describe(const mopt_export& job, const Json& config);

Json hf_quant_config(const Description& description);
Json quantization_config(const Description& description);

// config.json with quantization_config at its end.
std::string config_text(const mopt_export& job, Json config, const Description& description);

// generation_config.json as transformers derives it from config.json; empty when there is nothing
// to say.
std::string generation_config_text(const Json& config);

}  // namespace mopt::hf
