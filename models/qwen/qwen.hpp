// Qwen 2, 2.5, QwQ and 3, dense: Llama's layers with biases on q, k and v (2) or norms over the
// heads of q and k (3), and windows on some layers.
#pragma once

#include "mopt/adapter.hpp"

namespace mopt::qwen {

class Qwen {
 public:
  static constexpr const char* name = "qwen";
  static constexpr const char* summary = "Qwen 2, 2.5, QwQ and Qwen 3, dense";
  // model_type "qwen2" or "qwen3".
  static int match(const Config& config);
  // Throws MOPT_UNSUPPORTED naming a setting that it does not know how to honour.
  static void build(const Config& config, Graph& g);
};

}  // namespace mopt::qwen
