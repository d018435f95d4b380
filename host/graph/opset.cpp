#include "host/graph/opset.hpp"

#include <algorithm>

namespace mopt::graph {
namespace {

[[noreturn]] void mismatch(const std::string& expected, const std::string& found) {
  throw Error(MOPT_INVALID_ARGUMENT, "expected " + expected + ", found " + found);
}

void want_rank(const Dims& dims, size_t rank, const std::string& what) {
  if (dims.size() != rank)
    mismatch(what + " with " + std::to_string(rank) + " axes", shape_text(dims));
}

Dims infer_embedding(std::span<const Dims> in, const Attributes&) {
  want_rank(in[0], 2, "ids [B, T]");
  want_rank(in[1], 2, "a weight [V, C]");
  return {in[0][0], in[0][1], in[1][1]};
}

Dims infer_linear(std::span<const Dims> in, const Attributes&) {
  want_rank(in[1], 2, "a weight [out, in]");
  if (in[0].empty() || in[0].back() != in[1][1]) {
    mismatch("an input whose last extent is " + std::to_string(in[1][1]), shape_text(in[0]));
  }
  if (in.size() == 3 && in[2] != Dims{in[1][0]}) {
    mismatch("a bias [" + std::to_string(in[1][0]) + "]", shape_text(in[2]));
  }
  Dims out = in[0];
  out.back() = in[1][0];
  return out;
}

Dims infer_rms_norm(std::span<const Dims> in, const Attributes&) {
  if (in[0].empty() || in[1] != Dims{in[0].back()}) {
    mismatch("a weight of the last extent of " + shape_text(in[0]), shape_text(in[1]));
  }
  return in[0];
}

// Known elements and how often each symbol occurs.
struct Extent {
  int64_t known = 1;
  int batch = 0, time = 0;
  explicit Extent(const Dims& dims) {
    for (const int64_t d : dims) {
      if (d == MOPT_DIM_BATCH)
        ++batch;
      else if (d == MOPT_DIM_TIME)
        ++time;
      else if (__builtin_mul_overflow(known, d, &known))
        mismatch("a shape of fewer than 2^63 elements", shape_text(dims));
    }
  }
};

Dims infer_reshape(std::span<const Dims> in, const Attributes& attributes) {
  const Dims& wanted = std::get<Dims>(attributes.find("dims")->second);
  Dims out = wanted;
  size_t inferred = wanted.size();
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i] == 0) {
      if (i >= in[0].size())
        mismatch("at least " + std::to_string(i + 1) + " axes", shape_text(in[0]));
      out[i] = in[0][i];
    } else if (wanted[i] == -1) {
      if (inferred != wanted.size()) mismatch("at most one -1", shape_text(wanted));
      inferred = i;
      out[i] = 1;
    } else if (wanted[i] < MOPT_DIM_TIME) {
      mismatch("extents above zero, 0 or -1", shape_text(wanted));
    }
  }
  const Extent from(in[0]), to(out);
  if (from.known < 1) mismatch("extents above zero", shape_text(in[0]));
  if (from.batch != to.batch || from.time != to.time) {
    mismatch("the batch and time axes kept with 0", shape_text(wanted));
  }
  if (inferred != wanted.size() && to.known > 0 && from.known % to.known == 0)
    out[inferred] = from.known / to.known;
  if (Extent(out).known != from.known) {
    mismatch(std::to_string(from.known) + " elements per position", shape_text(out));
  }
  return out;
}

Dims infer_rope(std::span<const Dims> in, const Attributes& attributes) {
  want_rank(in[0], 4, "x [B, T, H, D]");
  want_rank(in[1], 2, "positions [B, T]");
  const int64_t rotary = std::get<int64_t>(attributes.find("rotary_dim")->second);
  if (in[0][3] % 2 != 0 || rotary < 0 || rotary % 2 != 0 || rotary > in[0][3]) {
    mismatch("an even head size not below rotary_dim " + std::to_string(rotary),
             std::to_string(in[0][3]));
  }
  return in[0];
}

Dims infer_attention(std::span<const Dims> in, const Attributes& attributes) {
  if (const int64_t window = std::get<int64_t>(attributes.find("window")->second); window < 0) {
    mismatch("a window of 0 (none) or more positions", std::to_string(window));
  }
  want_rank(in[0], 4, "q [B, T, H, D]");
  want_rank(in[1], 4, "k [B, T, K, D]");
  if (in[1] != in[2]) mismatch("v of k's shape " + shape_text(in[1]), shape_text(in[2]));
  if (in[0][3] != in[1][3] || in[1][2] == 0 || in[0][2] % in[1][2] != 0) {
    mismatch("q and k with one head size, H a multiple of K",
             shape_text(in[0]) + " and " + shape_text(in[1]));
  }
  return in[0];
}

Dims infer_same(std::span<const Dims> in, const Attributes&) {
  for (const Dims& other : in) {
    if (other != in[0])
      mismatch("operands of one shape", shape_text(in[0]) + " and " + shape_text(other));
  }
  return in[0];
}

const std::vector<OpSchema>& table() {
  static const std::vector<OpSchema> kTable = {
      {OpKind::kEmbedding, "embedding", 2, 2, {}, infer_embedding},
      {OpKind::kLinear, "linear", 2, 3, {}, infer_linear},
      {OpKind::kRmsNorm, "rms_norm", 2, 2, {{"eps", MOPT_FLOAT, std::nullopt}}, infer_rms_norm},
      {OpKind::kReshape, "reshape", 1, 1, {{"dims", MOPT_LIST, std::nullopt}}, infer_reshape},
      {OpKind::kRope,
       "rope",
       2,
       2,
       {{"theta", MOPT_FLOAT, std::nullopt},
        {"rotary_dim", MOPT_INT, int64_t{0}},
        {"scaling", MOPT_STR, "none", {"none", "linear", "llama3", "yarn", "dynamic"}},
        {"factor", MOPT_FLOAT, 1.0},
        {"low_freq_factor", MOPT_FLOAT, 1.0},
        {"high_freq_factor", MOPT_FLOAT, 4.0},
        {"original_max_position", MOPT_INT, int64_t{0}},
        {"beta_fast", MOPT_FLOAT, 32.0},
        {"beta_slow", MOPT_FLOAT, 1.0},
        {"attention_factor", MOPT_FLOAT, 0.0},
        {"max_position", MOPT_INT, int64_t{0}}},
       infer_rope},
      {OpKind::kAttention,
       "attention",
       3,
       3,
       {{"scale", MOPT_FLOAT, std::nullopt}, {"window", MOPT_INT, int64_t{0}}},
       infer_attention},
      {OpKind::kActivation,
       "activation",
       1,
       1,
       {{"kind", MOPT_STR, std::nullopt, {"silu", "gelu", "gelu_tanh", "relu"}}},
       infer_same},
      {OpKind::kAdd, "add", 2, 2, {}, infer_same},
      {OpKind::kMul, "mul", 2, 2, {}, infer_same},
  };
  return kTable;
}

bool has_type(const Attribute& value, mopt_type type) {
  switch (type) {
    case MOPT_INT:
      return std::holds_alternative<int64_t>(value);
    case MOPT_FLOAT:
      return std::holds_alternative<double>(value);
    case MOPT_STR:
      return std::holds_alternative<std::string>(value);
    default:
      return std::holds_alternative<std::vector<int64_t>>(value);
  }
}

void check_value(const AttributeSchema& schema, const Attribute& value) {
  if (!has_type(value, schema.type)) {
    throw Error(MOPT_INVALID_ARGUMENT,
                "attribute '" + std::string(schema.name) + "' has the wrong type");
  }
  if (schema.choices.empty()) return;
  const std::string& text = std::get<std::string>(value);
  if (std::find(schema.choices.begin(), schema.choices.end(), text) == schema.choices.end()) {
    throw Error(MOPT_UNSUPPORTED, "attribute '" + std::string(schema.name) + "' is '" + text +
                                      "', which the opset lacks");
  }
}

}  // namespace

const OpSchema* find_op(std::string_view name) {
  for (const OpSchema& schema : table()) {
    if (schema.name == name) return &schema;
  }
  return nullptr;
}

const OpSchema& schema_of(OpKind kind) {
  return *std::find_if(table().begin(), table().end(),
                       [&](const OpSchema& s) { return s.kind == kind; });
}

Attributes complete(const OpSchema& schema, Attributes given) {
  Attributes out;
  for (const AttributeSchema& a : schema.attributes) {
    auto node = given.extract(std::string(a.name));
    if (node.empty() && !a.def) {
      throw Error(MOPT_INVALID_ARGUMENT, "attribute '" + std::string(a.name) + "' is missing");
    }
    Attribute value = node.empty() ? *a.def : std::move(node.mapped());
    if (a.type == MOPT_FLOAT && std::holds_alternative<int64_t>(value)) {
      value = static_cast<double>(std::get<int64_t>(value));
    }
    check_value(a, value);
    out.emplace(a.name, std::move(value));
  }
  if (!given.empty()) {
    throw Error(MOPT_UNSUPPORTED, "attribute '" + given.begin()->first + "' is unknown");
  }
  return out;
}

}  // namespace mopt::graph
