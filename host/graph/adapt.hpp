// From a checkpoint to its graph: the configuration, the adapter that fits, and the check that
// graph and checkpoint hold the same parameters.
#pragma once

#include <memory>

#include "host/graph/graph.hpp"
#include "host/loader/container.hpp"

namespace mopt::graph {

// config.json by dotted path; the values that it hands out live as long as it does.
class ModelConfig {
 public:
  // `file`: its name, for messages. Throws mopt::Error (DATA_LOSS, about that file) when the text
  // is not a JSON object.
  explicit ModelConfig(std::string_view json, const std::string& file = "config.json");
  ~ModelConfig();
  mopt_value get(std::string_view path) const;
  std::string text(std::string_view path) const;  // empty when absent
  std::optional<int64_t> integer(std::string_view path) const;
  bool flag(std::string_view path) const;  // false when absent
  // An integer or a list of them: "eos_token_id".
  std::vector<int64_t> integers(std::string_view path) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// `adapter`: a component name, or "auto" for the one that claims the configuration most. Throws
// mopt::Error: NOT_FOUND no adapter fits, UNSUPPORTED it refuses a setting, INVALID_ARGUMENT a
// setting is missing or of the wrong type, INTERNAL the graph is not valid.
Model adapt(const Registry&, const Container&, const ModelConfig&, std::string_view adapter);

// Throws DATA_LOSS naming the first parameter that the checkpoint lacks or holds in another shape.
// A quantized checkpoint stores its weights packed: there this question belongs to verify.
void check_parameters(const Model&, const Container&);

}  // namespace mopt::graph
