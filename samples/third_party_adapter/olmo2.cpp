// OLMo 2: a decoder that normalizes what attention and feed-forward give back instead of what they
// take, and all heads of q and k together.
#include <mopt/adapter.hpp>
#include <mopt/rope.hpp>

#include <cmath>

namespace {

using namespace mopt;

struct Olmo2 {
  static constexpr const char* name = "olmo2";
  static constexpr const char* summary = "OLMo 2 and 2.5";
  static int match(const Config& config) { return config.text("model_type") == "olmo2" ? 10 : 0; }

  explicit Olmo2(const Config& c)
      : hidden(c.integer("hidden_size")),
        ffn(c.integer("intermediate_size")),
        heads(c.integer("num_attention_heads")),
        kv_heads(c.integer("num_key_value_heads", heads)),
        head_size(c.integer("head_dim", hidden / heads)),
        eps(c.number("rms_norm_eps", 1e-5)),
        bias(c.flag("attention_bias", false)),
        rope(read_rope(c, head_size)) {
    const std::string kind = c.text("hidden_act", "silu");
    if (kind != "silu") {
      throw Error(MOPT_UNSUPPORTED, "config.json: expected hidden_act silu, found " + kind);
    }
  }

  mopt_val attention(Graph& g, const std::string& at, mopt_val x, mopt_val positions) const {
    const int64_t q_size = heads * head_size, kv_size = kv_heads * head_size;
    mopt_val q = g.linear(x, at + ".q_proj", hidden, q_size, "attn.q", bias);
    mopt_val k = g.linear(x, at + ".k_proj", hidden, kv_size, "attn.k", bias);
    mopt_val v = g.linear(x, at + ".v_proj", hidden, kv_size, "attn.v", bias);
    g.fuse_group(at + ".qkv", {g.param(at + ".q_proj.weight", {q_size, hidden}, "attn.q"),
                               g.param(at + ".k_proj.weight", {kv_size, hidden}, "attn.k"),
                               g.param(at + ".v_proj.weight", {kv_size, hidden}, "attn.v")});
    q = g.reshape(g.rms_norm(q, at + ".q_norm", q_size, eps), {0, 0, heads, head_size});
    k = g.reshape(g.rms_norm(k, at + ".k_norm", kv_size, eps), {0, 0, kv_heads, head_size});
    v = g.reshape(v, {0, 0, kv_heads, head_size});
    const double scale = 1.0 / std::sqrt(static_cast<double>(head_size));
    const mopt_val mixed = g.op(
        "attention", at, {apply_rope(g, q, positions, rope), apply_rope(g, k, positions, rope), v},
        {attr("scale", scale)});
    return g.linear(g.reshape(mixed, {0, 0, q_size}), at + ".o_proj", q_size, hidden, "attn.o",
                    bias);
  }

  mopt_val mlp(Graph& g, const std::string& at, mopt_val x) const {
    const mopt_val gate = g.linear(x, at + ".gate_proj", hidden, ffn, "mlp.gate");
    const mopt_val up = g.linear(x, at + ".up_proj", hidden, ffn, "mlp.up");
    g.fuse_group(at + ".gate_up", {g.param(at + ".gate_proj.weight", {ffn, hidden}, "mlp.gate"),
                                   g.param(at + ".up_proj.weight", {ffn, hidden}, "mlp.up")});
    return g.linear(g.mul(g.activation(gate, "silu"), up), at + ".down_proj", ffn, hidden,
                    "mlp.down");
  }

  static void build(const Config& c, Graph& g) {
    const Olmo2 m(c);
    const int64_t vocab = c.integer("vocab_size");
    const auto residual = [&](mopt_val v) { return g.tag(v, "residual"), v; };
    const mopt_val ids = g.input("ids", kI64, {MOPT_DIM_BATCH, MOPT_DIM_TIME});
    const mopt_val positions = g.input("positions", kI64, {MOPT_DIM_BATCH, MOPT_DIM_TIME});
    g.begin_block("embed", 0);
    const mopt_val table = g.param("model.embed_tokens.weight", {vocab, m.hidden}, "embed");
    mopt_val x = residual(g.op("embedding", "model.embed_tokens", {ids, table}));
    g.end_block();
    for (int64_t i = 0; i < c.integer("num_hidden_layers"); ++i) {
      const std::string at = "model.layers." + std::to_string(i);
      g.begin_block("decoder", i);
      const mopt_val mixed = m.attention(g, at + ".self_attn", x, positions);
      x = residual(g.add(x, g.rms_norm(mixed, at + ".post_attention_layernorm", m.hidden, m.eps)));
      const mopt_val fed = m.mlp(g, at + ".mlp", x);
      x = residual(g.add(x, g.rms_norm(fed, at + ".post_feedforward_layernorm", m.hidden, m.eps)));
      g.end_block();
    }
    g.begin_block("head", 0);
    x = g.rms_norm(x, "model.norm", m.hidden, m.eps);
    g.output("logits", c.flag("tie_word_embeddings", false)
                           ? g.op("linear", "lm_head", {x, table})
                           : g.linear(x, "lm_head", m.hidden, vocab, "lm_head"));
    g.end_block();
  }

  int64_t hidden, ffn, heads, kv_heads, head_size;
  double eps;
  bool bias;
  Rope rope;
};

}  // namespace

MOPT_PLUGIN("org.example.olmo2", "1.0.0", AdapterComponent<Olmo2>::value)
