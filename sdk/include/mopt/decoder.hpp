// The decoder that Llama made common, for adapters of families that differ from it by settings: RMS
// norms before attention and before a gated MLP, rotary positions, Hugging Face's tensor names.
#pragma once

#include "mopt/rope.hpp"

namespace mopt {

struct Decoder {
  int64_t hidden = 0, ffn = 0, layers = 0, heads = 0, kv_heads = 0, head_size = 0, vocab = 0;
  double eps = 0;
  bool qkv_bias = false, o_bias = false, mlp_bias = false;
  bool head_norms = false;            // every head of q and k is normalized before it is rotated
  bool tied = false;                  // the embedding is the head, also where a head is stored
  std::string activation;             // of the op "activation"
  std::string prefix;                 // "model.", or "" where a base model was saved alone
  std::vector<int64_t> windows = {};  // tokens that a layer looks back on; 0 or no entry: all
  Rope rope;
};

// What config.json may leave out; 0: one kv head for each head, hidden / heads.
struct DecoderDefaults {
  int64_t kv_heads = 0, head_size = 0;
};

[[noreturn]] inline void refuse_setting(const std::string& key) {
  throw Error(MOPT_UNSUPPORTED, "config.json: '" + key + "' is not a setting of this architecture",
              key);
}

// "hidden_act" as the op "activation" calls it.
inline std::string read_activation(const Config& config) {
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

// The settings that all families spell alike. Biases, head norms and windows are the adapter's.
inline Decoder read_decoder(const Config& config, const DecoderDefaults& defaults = {}) {
  Decoder d;
  d.hidden = config.extent("hidden_size");
  d.ffn = config.extent("intermediate_size");
  d.layers = config.extent("num_hidden_layers");
  d.heads = config.extent("num_attention_heads");
  d.kv_heads =
      config.extent("num_key_value_heads", defaults.kv_heads > 0 ? defaults.kv_heads : d.heads);
  d.head_size =
      config.extent("head_dim", defaults.head_size > 0 ? defaults.head_size : d.hidden / d.heads);
  d.vocab = config.extent("vocab_size");
  d.eps = config.number("rms_norm_eps", 1e-6);
  d.tied = config.flag("tie_word_embeddings", false);
  d.activation = read_activation(config);
  d.prefix = config.has_tensor("embed_tokens.weight") ? "" : "model.";
  d.rope = read_rope(config, d.head_size);
  return d;
}

namespace detail {

// Splits the heads off x [B, T, H*D], normalizes each where asked for, rotates.
inline mopt_val decoder_heads(Graph& g, const Decoder& d, mopt_val x, int64_t heads,
                              const std::string& norm, mopt_val positions) {
  x = g.reshape(x, {0, 0, heads, d.head_size});
  if (d.head_norms) x = g.rms_norm(x, norm, d.head_size, d.eps);
  return apply_rope(g, x, positions, d.rope);
}

inline mopt_val decoder_attention(Graph& g, const Decoder& d, const std::string& at, int64_t window,
                                  mopt_val x, mopt_val positions) {
  const int64_t q_size = d.heads * d.head_size, kv_size = d.kv_heads * d.head_size;
  mopt_val q = g.linear(x, at + ".q_proj", d.hidden, q_size, "attn.q", d.qkv_bias);
  mopt_val k = g.linear(x, at + ".k_proj", d.hidden, kv_size, "attn.k", d.qkv_bias);
  mopt_val v = g.linear(x, at + ".v_proj", d.hidden, kv_size, "attn.v", d.qkv_bias);
  g.fuse_group(at + ".qkv", {g.param(at + ".q_proj.weight", {q_size, d.hidden}, "attn.q"),
                             g.param(at + ".k_proj.weight", {kv_size, d.hidden}, "attn.k"),
                             g.param(at + ".v_proj.weight", {kv_size, d.hidden}, "attn.v")});
  q = decoder_heads(g, d, q, d.heads, at + ".q_norm", positions);
  k = decoder_heads(g, d, k, d.kv_heads, at + ".k_norm", positions);
  v = g.reshape(v, {0, 0, d.kv_heads, d.head_size});
  const double scale = 1.0 / std::sqrt(static_cast<double>(d.head_size));
  const mopt_val mixed =
      g.op("attention", at, {q, k, v}, {attr("scale", scale), attr("window", window)});
  return g.linear(g.reshape(mixed, {0, 0, q_size}), at + ".o_proj", q_size, d.hidden, "attn.o",
                  d.o_bias);
}

inline mopt_val decoder_mlp(Graph& g, const Decoder& d, const std::string& at, mopt_val x) {
  const mopt_val gate = g.linear(x, at + ".gate_proj", d.hidden, d.ffn, "mlp.gate", d.mlp_bias);
  const mopt_val up = g.linear(x, at + ".up_proj", d.hidden, d.ffn, "mlp.up", d.mlp_bias);
  g.fuse_group(at + ".gate_up", {g.param(at + ".gate_proj.weight", {d.ffn, d.hidden}, "mlp.gate"),
                                 g.param(at + ".up_proj.weight", {d.ffn, d.hidden}, "mlp.up")});
  const mopt_val product = g.mul(g.activation(gate, d.activation), up);
  return g.linear(product, at + ".down_proj", d.ffn, d.hidden, "mlp.down", d.mlp_bias);
}

}  // namespace detail

// The whole graph: blocks embed, decoder 0 to layers - 1, head.
inline void build_decoder(Graph& g, const Decoder& d) {
  const mopt_val ids = g.input("ids", kI64, {MOPT_DIM_BATCH, MOPT_DIM_TIME});
  const mopt_val positions = g.input("positions", kI64, {MOPT_DIM_BATCH, MOPT_DIM_TIME});
  const std::string embed = d.prefix + "embed_tokens";
  const auto residual = [&](mopt_val v) { return g.tag(v, "residual"), v; };

  g.begin_block("embed", 0);
  const mopt_val table = g.param(embed + ".weight", {d.vocab, d.hidden}, "embed");
  mopt_val x = residual(g.op("embedding", embed, {ids, table}));
  g.end_block();
  for (int64_t i = 0; i < d.layers; ++i) {
    const std::string layer = d.prefix + "layers." + std::to_string(i);
    const auto at = static_cast<size_t>(i);
    const int64_t window = at < d.windows.size() ? d.windows[at] : 0;
    g.begin_block("decoder", i);
    const mopt_val in = g.rms_norm(x, layer + ".input_layernorm", d.hidden, d.eps);
    const std::string attention = layer + ".self_attn";
    x = residual(g.add(x, detail::decoder_attention(g, d, attention, window, in, positions)));
    const mopt_val mid = g.rms_norm(x, layer + ".post_attention_layernorm", d.hidden, d.eps);
    x = residual(g.add(x, detail::decoder_mlp(g, d, layer + ".mlp", mid)));
    g.end_block();
  }
  g.begin_block("head", 0);
  x = g.rms_norm(x, d.prefix + "norm", d.hidden, d.eps);
  // As in transformers, a stored lm_head does not count when the embedding is tied to it.
  const mopt_val logits = d.tied ? g.op("linear", "lm_head", {x, table})
                                 : g.linear(x, "lm_head", d.hidden, d.vocab, "lm_head");
  g.output("logits", logits);
  g.end_block();
}

}  // namespace mopt
