// Llama and Mistral: pre-norm decoders with grouped attention, rotary positions and a gated MLP.
#pragma once

#include "mopt/adapter.hpp"

namespace mopt::llama {

class Llama {
 public:
  static constexpr const char* name = "llama";
  static constexpr const char* summary = "Llama 1-3, SmolLM2, Mistral and what shares their layers";
  // model_type "llama" or "mistral".
  static int match(const Config& config);
  // Throws MOPT_UNSUPPORTED naming a setting that it does not know how to honour.
  static void build(const Config& config, Graph& g);
};

}  // namespace mopt::llama
