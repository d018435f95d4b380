#include "qwen.hpp"

#include <cmath>

#include "mopt/rope.hpp"

namespace mopt::qwen {
namespace {

struct Shape {
  int64_t hidden, ffn, layers, heads, kv_heads, head_size, vocab;
  double eps;
  bool qkv_bias, o_bias, head_norms, tied;
  std::string activation, prefix;  // prefix: "model.", or "" where a base model was saved alone
  Rope rope;
};

[[noreturn]] void refuse(const std::string& key) {
  throw Error(MOPT_UNSUPPORTED, "config.json: '" + key + "' is not a setting of this architecture",
              key);
}

// Settings of relatives whose layers compute something else.
void refuse_relatives(const Config& config) {
  for (const char* key :
       {"num_experts", "num_local_experts", "attn_logit_softcapping", "final_logit_softcapping",
        "use_mrope", "use_logn_attn", "dual_chunk_attention_config", "vision_config"}) {
    if (config.has(key) && config.get(key).type != MOPT_BOOL) refuse(key);
    if (config.has(key) && config.flag(key, false)) refuse(key);
  }
}

std::string activation(const Config& config) {
  const std::string kind = config.text("hidden_act", "silu");
  if (kind == "silu" || kind == "swish") return "silu";
  if (kind == "gelu" || kind == "relu") return kind;
  if (kind == "gelu_pytorch_tanh" || kind == "gelu_new") return "gelu_tanh";
  throw Error(
      MOPT_UNSUPPORTED,
      "config.json: expected the hidden_act silu, gelu, gelu_pytorch_tanh or relu, found '" + kind +
          "'",
      "hidden_act");
}

Shape read(const Config& config) {
  refuse_relatives(config);
  const bool third = config.text("model_type") == "qwen3";
  Shape s{};
  s.hidden = config.extent("hidden_size");
  s.ffn = config.extent("intermediate_size");
  s.layers = config.extent("num_hidden_layers");
  s.heads = config.extent("num_attention_heads");
  s.kv_heads = config.extent("num_key_value_heads", s.heads);
  s.head_size = config.extent("head_dim", third ? 128 : s.hidden / s.heads);
  s.vocab = config.extent("vocab_size");
  s.eps = config.number("rms_norm_eps", 1e-6);
  s.o_bias = third && config.flag("attention_bias", false);
  s.qkv_bias = !third || s.o_bias;
  s.head_norms = third;
  s.tied = config.flag("tie_word_embeddings", false);
  s.activation = activation(config);
  s.prefix = config.has_tensor("embed_tokens.weight") ? "" : "model.";
  s.rope = read_rope(config, s.head_size);
  return s;
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

// Splits the heads off x [B, T, H*D], normalizes each (Qwen 3), rotates.
mopt_val heads(Graph& g, const Shape& s, mopt_val x, int64_t count, const std::string& norm,
               mopt_val positions) {
  x = g.reshape(x, {0, 0, count, s.head_size});
  if (s.head_norms) x = g.rms_norm(x, norm, s.head_size, s.eps);
  return apply_rope(g, x, positions, s.rope);
}

struct Layer {
  std::string name;
  int64_t window;
};

mopt_val attention(Graph& g, const Shape& s, const Layer& layer, mopt_val x, mopt_val positions) {
  const std::string at = layer.name + ".self_attn";
  const int64_t q_size = s.heads * s.head_size, kv_size = s.kv_heads * s.head_size;
  mopt_val q = g.linear(x, at + ".q_proj", s.hidden, q_size, "attn.q", s.qkv_bias);
  mopt_val k = g.linear(x, at + ".k_proj", s.hidden, kv_size, "attn.k", s.qkv_bias);
  mopt_val v = g.linear(x, at + ".v_proj", s.hidden, kv_size, "attn.v", s.qkv_bias);
  g.fuse_group(at + ".qkv", {g.param(at + ".q_proj.weight", {q_size, s.hidden}, "attn.q"),
                             g.param(at + ".k_proj.weight", {kv_size, s.hidden}, "attn.k"),
                             g.param(at + ".v_proj.weight", {kv_size, s.hidden}, "attn.v")});
  q = heads(g, s, q, s.heads, at + ".q_norm", positions);
  k = heads(g, s, k, s.kv_heads, at + ".k_norm", positions);
  v = g.reshape(v, {0, 0, s.kv_heads, s.head_size});
  const double scale = 1.0 / std::sqrt(static_cast<double>(s.head_size));
  const mopt_val mixed =
      g.op("attention", at, {q, k, v}, {attr("scale", scale), attr("window", layer.window)});
  return g.linear(g.reshape(mixed, {0, 0, q_size}), at + ".o_proj", q_size, s.hidden, "attn.o",
                  s.o_bias);
}

mopt_val mlp(Graph& g, const Shape& s, const std::string& at, mopt_val x) {
  const mopt_val gate = g.linear(x, at + ".gate_proj", s.hidden, s.ffn, "mlp.gate");
  const mopt_val up = g.linear(x, at + ".up_proj", s.hidden, s.ffn, "mlp.up");
  g.fuse_group(at + ".gate_up", {g.param(at + ".gate_proj.weight", {s.ffn, s.hidden}, "mlp.gate"),
                                 g.param(at + ".up_proj.weight", {s.ffn, s.hidden}, "mlp.up")});
  const mopt_val product = g.mul(g.activation(gate, s.activation), up);
  return g.linear(product, at + ".down_proj", s.ffn, s.hidden, "mlp.down");
}

}  // namespace

int Qwen::match(const Config& config) {
  const std::string type = config.text("model_type");
  return type == "qwen2" || type == "qwen3" ? 10 : 0;
}

void Qwen::build(const Config& config, Graph& g) {
  const Shape s = read(config);
  const mopt_val ids = g.input("ids", kI64, {MOPT_DIM_BATCH, MOPT_DIM_TIME});
  const mopt_val positions = g.input("positions", kI64, {MOPT_DIM_BATCH, MOPT_DIM_TIME});
  const std::string embed = s.prefix + "embed_tokens";
  const auto residual = [&](mopt_val v) { return g.tag(v, "residual"), v; };

  g.begin_block("embed", 0);
  const mopt_val table = g.param(embed + ".weight", {s.vocab, s.hidden}, "embed");
  mopt_val x = residual(g.op("embedding", embed, {ids, table}));
  g.end_block();
  for (int64_t i = 0; i < s.layers; ++i) {
    const Layer layer{s.prefix + "layers." + std::to_string(i), window(config, i)};
    g.begin_block("decoder", i);
    const mopt_val in = g.rms_norm(x, layer.name + ".input_layernorm", s.hidden, s.eps);
    x = residual(g.add(x, attention(g, s, layer, in, positions)));
    const mopt_val mid = g.rms_norm(x, layer.name + ".post_attention_layernorm", s.hidden, s.eps);
    x = residual(g.add(x, mlp(g, s, layer.name + ".mlp", mid)));
    g.end_block();
  }
  g.begin_block("head", 0);
  x = g.rms_norm(x, s.prefix + "norm", s.hidden, s.eps);
  // As in transformers, a stored lm_head does not count when the embedding is tied to it.
  const mopt_val logits = s.tied ? g.op("linear", "lm_head", {x, table})
                                 : g.linear(x, "lm_head", s.hidden, s.vocab, "lm_head");
  g.output("logits", logits);
  g.end_block();
}

}  // namespace mopt::qwen
