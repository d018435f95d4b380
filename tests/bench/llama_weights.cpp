#include "llama_weights.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <random>
#include <stdexcept>

#include "mopt/numeric/bf16.hpp"

namespace mopt::bench {
namespace {

constexpr size_t kDraws = 65536;
constexpr int64_t kRun = 32;  // elements taken together from one place of a table: 64 bytes
constexpr size_t kTableSize = kDraws + kRun;
constexpr size_t kSpreads = 6, kTables = kSpreads + 1;
constexpr float kSmallestSpread = 0.014f, kSpreadStep = 1.19f, kNormSpread = 0.1f;
constexpr uint64_t kOutlierColumn = 256, kOutlierRow = 128;  // one in so many

// The finalizer of splitmix64 (Steele, Lea, Flood 2014).
uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

// The value times 2^power; zero and subnormal numbers stay.
uint16_t scaled(uint16_t bits, int power) {
  return (bits & 0x7F80) == 0 ? bits : static_cast<uint16_t>(bits + (power << 7));
}

std::vector<int64_t> outlier_columns(uint64_t key, int64_t cols) {
  std::vector<int64_t> found;
  for (int64_t c = 0; c < cols; ++c) {
    if (mix(key ^ (uint64_t{1} << 62) ^ static_cast<uint64_t>(c)) % kOutlierColumn == 0)
      found.push_back(c);
  }
  return found;
}

}  // namespace

LlamaShape preset(std::string_view name) {
  if (name == "8b") return {};
  if (name == "70b") return {8192, 28672, 80, 64, 8, 128256, 1};
  throw std::invalid_argument("expected preset 8b or 70b, found " + std::string(name));
}

void check_shape(const LlamaShape& s) {
  const auto need = [](bool fine, const char* what) {
    if (!fine) throw std::invalid_argument(std::string("a Llama needs ") + what);
  };
  need(s.hidden > 0 && s.feed_forward > 0 && s.layers > 0 && s.heads > 0 && s.kv_heads > 0 &&
           s.vocabulary > 3,
       "sizes above zero and a vocabulary above 3");
  need(std::max({s.hidden, s.feed_forward, s.vocabulary}) <= 1 << 24 && s.layers <= 10000,
       "sizes of at most 2^24 and at most 10000 layers");
  need(s.hidden % s.heads == 0 && s.hidden / s.heads % 2 == 0,
       "a hidden size that is an even multiple of the heads");
  need(s.heads % s.kv_heads == 0, "heads that are a multiple of the kv heads");
}

std::vector<LlamaTensor> llama_tensors(const LlamaShape& s) {
  std::vector<LlamaTensor> all{{"model.embed_tokens.weight", {s.vocabulary, s.hidden}}};
  for (int64_t i = 0; i < s.layers; ++i) {
    const std::string p = "model.layers." + std::to_string(i) + ".";
    all.push_back({p + "input_layernorm.weight", {s.hidden}});
    all.push_back({p + "self_attn.q_proj.weight", {s.hidden, s.hidden}});
    all.push_back({p + "self_attn.k_proj.weight", {s.kv_width(), s.hidden}});
    all.push_back({p + "self_attn.v_proj.weight", {s.kv_width(), s.hidden}});
    all.push_back({p + "self_attn.o_proj.weight", {s.hidden, s.hidden}});
    all.push_back({p + "post_attention_layernorm.weight", {s.hidden}});
    all.push_back({p + "mlp.gate_proj.weight", {s.feed_forward, s.hidden}});
    all.push_back({p + "mlp.up_proj.weight", {s.feed_forward, s.hidden}});
    all.push_back({p + "mlp.down_proj.weight", {s.hidden, s.feed_forward}});
  }
  all.push_back({"model.norm.weight", {s.hidden}});
  all.push_back({"lm_head.weight", {s.vocabulary, s.hidden}});
  return all;
}

std::string llama_config(const LlamaShape& s) {
  const nlohmann::json config{{"architectures", {"LlamaForCausalLM"}},
                              {"model_type", "llama"},
                              {"hidden_size", s.hidden},
                              {"intermediate_size", s.feed_forward},
                              {"num_hidden_layers", s.layers},
                              {"num_attention_heads", s.heads},
                              {"num_key_value_heads", s.kv_heads},
                              {"vocab_size", s.vocabulary},
                              {"max_position_embeddings", 8192},
                              {"rms_norm_eps", 1e-5},
                              {"rope_theta", 500000.0},
                              {"hidden_act", "silu"},
                              {"attention_bias", false},
                              {"mlp_bias", false},
                              {"tie_word_embeddings", false},
                              {"bos_token_id", 1},
                              {"eos_token_id", 2},
                              {"torch_dtype", "bfloat16"}};
  return config.dump(1) + "\n";
}

std::vector<int64_t> llama_ids(const LlamaShape& s, int64_t count) {
  std::vector<int64_t> ids(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    ids[static_cast<size_t>(i)] =
        3 + static_cast<int64_t>(mix(s.seed << 40 ^ static_cast<uint64_t>(i)) %
                                 static_cast<uint64_t>(s.vocabulary - 3));
  }
  return ids;
}

LlamaWeights::LlamaWeights(uint64_t seed) : seed_(seed), tables_(kTables * kTableSize) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  for (size_t i = 0; i < kTableSize; ++i) {
    const float x = normal(random);
    float spread = kSmallestSpread;
    for (size_t k = 0; k < kSpreads; ++k, spread *= kSpreadStep)
      tables_[k * kTableSize + i] = bf16::encode(x * spread);
    tables_[kSpreads * kTableSize + i] = bf16::encode(1 + kNormSpread * x);
  }
}

uint64_t LlamaWeights::tensor_seed(std::string_view name) const {
  uint64_t key = mix(seed_);
  for (const char c : name)
    key = mix(key ^ static_cast<unsigned char>(c));
  return key;
}

std::span<const uint16_t> LlamaWeights::table(const LlamaTensor& t, uint64_t key) const {
  const size_t which = t.shape.size() == 1 ? kSpreads : key % kSpreads;
  return std::span(tables_).subspan(which * kTableSize, kTableSize);
}

void LlamaWeights::fill(const LlamaTensor& t, int64_t begin, int64_t end, uint16_t* out) const {
  const uint64_t key = tensor_seed(t.name);
  const uint16_t* draws = table(t, key).data();
  const int64_t cols = t.cols();
  const bool matrix = t.shape.size() == 2;
  const std::vector<int64_t> columns = matrix ? outlier_columns(key, cols) : std::vector<int64_t>{};
  for (int64_t r = begin; r < end; ++r, out += cols) {
    const uint64_t row = mix(key ^ static_cast<uint64_t>(r));
    for (int64_t c = 0; c < cols; c += kRun) {
      const uint16_t* from = draws + (mix(row + static_cast<uint64_t>(c)) >> 48);
      std::memcpy(out + c, from, 2 * static_cast<size_t>(std::min(kRun, cols - c)));
    }
    for (const int64_t c : columns)
      out[c] = scaled(out[c], 2);
    if (!matrix || row % kOutlierRow != 0) continue;
    std::transform(out, out + cols, out, [](uint16_t bits) { return scaled(bits, 1); });
  }
}

}  // namespace mopt::bench
