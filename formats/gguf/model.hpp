// What a GGUF file means in Hugging Face terms: names, row order, configuration.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "container.hpp"

namespace mopt::gguf {

// llama's q and k rows are stored per head as [d/2, 2] (interleaved rope) where Hugging Face has
// [2, d/2].
enum class RowOrder { kStored, kInterleaved };

struct Presentation {
  std::string name;
  RowOrder order = RowOrder::kStored;
  int64_t heads = 0;  // kInterleaved: row groups to permute
};

// The stored row that stands at `row` in Hugging Face's order.
int64_t stored_row(int64_t row, int64_t rows, int64_t heads);

class Model {
 public:
  explicit Model(const Metadata& metadata);
  const std::string& arch() const { return arch_; }
  // llama, qwen2 and qwen3 without experts. Tensors of others keep their names and rows.
  bool translated() const { return translated_; }
  Presentation present(const StoredTensor& tensor) const;

 private:
  int64_t heads(std::string_view key, size_t layer) const;

  const Metadata& metadata_;
  std::string arch_;
  bool translated_ = false;
};

// llama3's frequency scaling, which GGUF stores as one factor per frequency.
struct Llama3Rope {
  double factor, low_freq_factor, high_freq_factor;
  int64_t original_context;
};
// Nothing when the factors do not follow that rule.
std::optional<Llama3Rope> fit_llama3(std::span<const float> factors, double theta,
                                     std::optional<int64_t> original_context);

// Facts of the tensors that a configuration depends on.
struct TensorFacts {
  DLDataType dtype;        // of the model
  int64_t vocabulary = 0;  // rows of the embedding
  bool has_output = false, has_qkv_bias = false, has_o_bias = false, has_mlp_bias = false;
  std::vector<float> rope_factors;  // rope_freqs.weight, or empty
};

inline constexpr double kDefaultTheta = 10000.0;

// Texts of config.json and generation_config.json; MOPT_UNSUPPORTED names what has no translation.
std::string config_json(const Metadata& metadata, const Model& model, const TensorFacts& facts);
std::string generation_config_json(const Metadata& metadata);

}  // namespace mopt::gguf
