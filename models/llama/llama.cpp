#include "llama.hpp"

#include <cmath>

#include "mopt/rope.hpp"

namespace mopt::llama {
namespace {

struct Shape {
  int64_t hidden, ffn, layers, heads, kv_heads, head_size, vocab, window;
  double eps;
  bool attention_bias, mlp_bias, tied;
  std::string activation, prefix;  // prefix: "model.", or "" where a base model was saved alone
  Rope rope;
};

// Settings of relatives whose layers compute something else.
void refuse_relatives(const Config& config) {
  for (const char* key :
       {"attention_multiplier", "residual_multiplier", "embedding_multiplier", "logits_scaling",
        "attn_logit_softcapping", "final_logit_softcapping", "clip_qkv", "scale_emb", "scale_depth",
        "no_rope_layers", "attention_chunk_size", "num_local_experts", "num_experts"}) {
    if (config.has(key)) {
      throw Error(MOPT_UNSUPPORTED,
                  "config.json: '" + std::string(key) + "' is not a setting of this architecture",
                  key);
    }
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
  const bool mistral = config.text("model_type") == "mistral";
  Shape s{};
  s.hidden = config.extent("hidden_size");
  s.ffn = config.extent("intermediate_size");
  s.layers = config.extent("num_hidden_layers");
  s.heads = config.extent("num_attention_heads");
  s.kv_heads = config.extent("num_key_value_heads", mistral ? 8 : s.heads);
  s.head_size = config.extent("head_dim", s.hidden / s.heads);
  s.vocab = config.extent("vocab_size");
  // Mistral's window holds for every layer; its projections have no biases, whatever the file says.
  s.window = mistral ? config.integer("sliding_window", 0) : 0;
  s.eps = config.number("rms_norm_eps", 1e-6);
  s.attention_bias = !mistral && config.flag("attention_bias", false);
  s.mlp_bias = !mistral && config.flag("mlp_bias", false);
  s.tied = config.flag("tie_word_embeddings", false);
  s.activation = activation(config);
  s.prefix = config.has_tensor("embed_tokens.weight") ? "" : "model.";
  s.rope = read_rope(config, s.head_size);
  return s;
}

mopt_val attention(Graph& g, const Shape& s, const std::string& at, mopt_val x,
                   mopt_val positions) {
  const int64_t q_size = s.heads * s.head_size, kv_size = s.kv_heads * s.head_size;
  mopt_val q = g.linear(x, at + ".q_proj", s.hidden, q_size, "attn.q", s.attention_bias);
  mopt_val k = g.linear(x, at + ".k_proj", s.hidden, kv_size, "attn.k", s.attention_bias);
  mopt_val v = g.linear(x, at + ".v_proj", s.hidden, kv_size, "attn.v", s.attention_bias);
  g.fuse_group(at + ".qkv", {g.param(at + ".q_proj.weight", {q_size, s.hidden}, "attn.q"),
                             g.param(at + ".k_proj.weight", {kv_size, s.hidden}, "attn.k"),
                             g.param(at + ".v_proj.weight", {kv_size, s.hidden}, "attn.v")});
  q = apply_rope(g, g.reshape(q, {0, 0, s.heads, s.head_size}), positions, s.rope);
  k = apply_rope(g, g.reshape(k, {0, 0, s.kv_heads, s.head_size}), positions, s.rope);
  v = g.reshape(v, {0, 0, s.kv_heads, s.head_size});
  const double scale = 1.0 / std::sqrt(static_cast<double>(s.head_size));
  const mopt_val mixed =
      g.op("attention", at, {q, k, v}, {attr("scale", scale), attr("window", s.window)});
  return g.linear(g.reshape(mixed, {0, 0, q_size}), at + ".o_proj", q_size, s.hidden, "attn.o",
                  s.attention_bias);
}

mopt_val mlp(Graph& g, const Shape& s, const std::string& at, mopt_val x) {
  const mopt_val gate = g.linear(x, at + ".gate_proj", s.hidden, s.ffn, "mlp.gate", s.mlp_bias);
  const mopt_val up = g.linear(x, at + ".up_proj", s.hidden, s.ffn, "mlp.up", s.mlp_bias);
  g.fuse_group(at + ".gate_up", {g.param(at + ".gate_proj.weight", {s.ffn, s.hidden}, "mlp.gate"),
                                 g.param(at + ".up_proj.weight", {s.ffn, s.hidden}, "mlp.up")});
  const mopt_val product = g.mul(g.activation(gate, s.activation), up);
  return g.linear(product, at + ".down_proj", s.ffn, s.hidden, "mlp.down", s.mlp_bias);
}

}  // namespace

int Llama::match(const Config& config) {
  const std::string type = config.text("model_type");
  return type == "llama" || type == "mistral" ? 10 : 0;
}

void Llama::build(const Config& config, Graph& g) {
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
    const std::string layer = s.prefix + "layers." + std::to_string(i);
    g.begin_block("decoder", i);
    const mopt_val in = g.rms_norm(x, layer + ".input_layernorm", s.hidden, s.eps);
    x = residual(g.add(x, attention(g, s, layer + ".self_attn", in, positions)));
    const mopt_val mid = g.rms_norm(x, layer + ".post_attention_layernorm", s.hidden, s.eps);
    x = residual(g.add(x, mlp(g, s, layer + ".mlp", mid)));
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

}  // namespace mopt::llama
