#include "llama.hpp"

#include "mopt/decoder.hpp"

namespace mopt::llama {
namespace {

// Settings of relatives whose layers compute something else.
void refuse_relatives(const Config& config) {
  for (const char* key :
       {"attention_multiplier", "residual_multiplier", "embedding_multiplier", "logits_scaling",
        "attn_logit_softcapping", "final_logit_softcapping", "clip_qkv", "scale_emb", "scale_depth",
        "no_rope_layers", "attention_chunk_size", "num_local_experts", "num_experts"}) {
    if (config.has(key)) refuse_setting(key);
  }
}

}  // namespace

int Llama::match(const Config& config) {
  const std::string type = config.text("model_type");
  return type == "llama" || type == "mistral" ? 10 : 0;
}

void Llama::build(const Config& config, Graph& g) {
  refuse_relatives(config);
  if (config.text("model_type") == "mistral") {
    // The window holds for every layer; projections have no biases, whatever the file says.
    Decoder d = read_decoder(config, {.kv_heads = 8});
    d.windows.assign(static_cast<size_t>(d.layers), config.integer("sliding_window", 0));
    return build_decoder(g, d);
  }
  Decoder d = read_decoder(config);
  d.qkv_bias = d.o_bias = config.flag("attention_bias", false);
  d.mlp_bias = config.flag("mlp_bias", false);
  build_decoder(g, d);
}

}  // namespace mopt::llama
