#include "qwen.hpp"

#include "mopt/decoder.hpp"

namespace mopt::qwen {
namespace {

// Settings of relatives whose layers compute something else.
void refuse_relatives(const Config& config) {
  for (const char* key :
       {"num_experts", "num_local_experts", "attn_logit_softcapping", "final_logit_softcapping",
        "use_mrope", "use_logn_attn", "dual_chunk_attention_config", "vision_config"}) {
    if (config.has(key) && config.get(key).type != MOPT_BOOL) refuse_setting(key);
    if (config.has(key) && config.flag(key, false)) refuse_setting(key);
  }
}

// The window of a layer, 0 for none: by layer_types where that is given, else from
// max_window_layers on.
int64_t window(const Config& config, int64_t layer) {
  if (!config.flag("use_sliding_window", false)) return 0;
  const int64_t size = config.integer("sliding_window", 4096);
  const mopt_value types = config.get("layer_types");
  if (types.type == MOPT_NONE) return layer >= config.integer("max_window_layers", 28) ? size : 0;
  if (types.type != MOPT_LIST || layer >= types.count) {
    throw Error(
        MOPT_INVALID_ARGUMENT,
        "config.json: expected one entry of 'layer_types' per layer, found none for layer " +
            std::to_string(layer),
        "layer_types");
  }
  const mopt_value& type = types.as.list[layer];
  const std::string_view kind = type.type == MOPT_STR ? view(type.as.s) : "something else";
  if (kind == "sliding_attention") return size;
  if (kind == "full_attention") return 0;
  throw Error(
      MOPT_UNSUPPORTED,
      "config.json: expected full_attention or sliding_attention in 'layer_types', found '" +
          std::string(kind) + "'",
      "layer_types");
}

}  // namespace

int Qwen::match(const Config& config) {
  const std::string type = config.text("model_type");
  return type == "qwen2" || type == "qwen3" ? 10 : 0;
}

void Qwen::build(const Config& config, Graph& g) {
  refuse_relatives(config);
  const bool third = config.text("model_type") == "qwen3";
  Decoder d = read_decoder(config, {.head_size = third ? 128 : 0});
  d.o_bias = third && config.flag("attention_bias", false);
  d.qkv_bias = !third || d.o_bias;
  d.head_norms = third;
  for (int64_t i = 0; i < d.layers; ++i)
    d.windows.push_back(window(config, i));
  build_decoder(g, d);
}

}  // namespace mopt::qwen
