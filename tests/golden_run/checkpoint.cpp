#include "tests/golden_run/checkpoint.hpp"

#include <bit>
#include <cmath>
#include <fstream>
#include <functional>
#include <numeric>

#include "tests/json.hpp"

namespace mopt::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

template <class T>
StoredTensor stored(std::string dtype, std::vector<int64_t> shape, const std::vector<T>& values) {
  const auto* data = reinterpret_cast<const char*>(values.data());
  return {std::move(dtype), std::move(shape), std::string(data, values.size() * sizeof(T))};
}

// splitmix64 (Steele, Lea, Flood 2014).
class Sequence {
 public:
  explicit Sequence(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }
  // In [-1, 1), the sum of two uniform numbers halved: more small values than large ones.
  float centred() {
    const auto unit = [this] { return static_cast<double>(next() >> 11) * 0x1p-53; };
    return static_cast<float>(unit() - unit());
  }

 private:
  uint64_t state_;
};

StoredTensor random_matrix(Sequence& sequence, int64_t rows, int64_t columns) {
  std::vector<float> values(static_cast<size_t>(rows * columns));
  const float scale = 2.5f / std::sqrt(static_cast<float>(columns));
  for (float& x : values)
    x = scale * sequence.centred();
  return bf16_tensor({rows, columns}, values);
}

StoredTensor ones(int64_t count) {
  return bf16_tensor({count}, std::vector<float>(static_cast<size_t>(count), 1.0f));
}

json llama_config(const LlamaSize& s) {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_size", s.hidden},
          {"intermediate_size", s.feed_forward},
          {"num_hidden_layers", s.layers},
          {"num_attention_heads", s.heads},
          {"num_key_value_heads", s.kv_heads},
          {"vocab_size", s.vocabulary},
          {"max_position_embeddings", 1024},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 10000.0},
          {"hidden_act", "silu"},
          {"attention_bias", false},
          {"mlp_bias", false},
          {"tie_word_embeddings", false},
          {"bos_token_id", 1},
          {"eos_token_id", 2},
          {"torch_dtype", "bfloat16"}};
}

void add_layer(Tensors& t, Sequence& sequence, const std::string& layer, const LlamaSize& s) {
  const int64_t kv = s.hidden / s.heads * s.kv_heads;
  t[layer + "input_layernorm.weight"] = ones(s.hidden);
  t[layer + "post_attention_layernorm.weight"] = ones(s.hidden);
  t[layer + "self_attn.q_proj.weight"] = random_matrix(sequence, s.hidden, s.hidden);
  t[layer + "self_attn.k_proj.weight"] = random_matrix(sequence, kv, s.hidden);
  t[layer + "self_attn.v_proj.weight"] = random_matrix(sequence, kv, s.hidden);
  t[layer + "self_attn.o_proj.weight"] = random_matrix(sequence, s.hidden, s.hidden);
  t[layer + "mlp.gate_proj.weight"] = random_matrix(sequence, s.feed_forward, s.hidden);
  t[layer + "mlp.up_proj.weight"] = random_matrix(sequence, s.feed_forward, s.hidden);
  t[layer + "mlp.down_proj.weight"] = random_matrix(sequence, s.hidden, s.feed_forward);
}

}  // namespace

float from_bf16(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

uint16_t to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

std::vector<float> floats(const StoredTensor& tensor) {
  if (tensor.dtype == "F32") return tensor.as<float>();
  if (tensor.dtype != "BF16") throw std::runtime_error("no float type: " + tensor.dtype);
  std::vector<float> out;
  for (const uint16_t bits : tensor.as<uint16_t>())
    out.push_back(from_bf16(bits));
  return out;
}

StoredTensor f32_tensor(std::vector<int64_t> shape, const std::vector<float>& values) {
  return stored("F32", std::move(shape), values);
}

StoredTensor bf16_tensor(std::vector<int64_t> shape, const std::vector<float>& values) {
  std::vector<uint16_t> bits;
  for (const float x : values)
    bits.push_back(to_bf16(x));
  return stored("BF16", std::move(shape), bits);
}

StoredTensor i64_tensor(std::vector<int64_t> shape, const std::vector<int64_t>& values) {
  return stored("I64", std::move(shape), values);
}

void write_text(const fs::path& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  out << text;
  out.close();
  if (!out) throw std::runtime_error("cannot write " + path.string());
}

void write_safetensors(const fs::path& path, const Tensors& tensors) {
  json header = {{"__metadata__", {{"format", "pt"}}}};
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    const size_t begin = data.size();
    data += tensor.bytes;
    header[name] = {
        {"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {begin, data.size()}}};
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  std::string prefix(sizeof(length), '\0');
  std::memcpy(prefix.data(), &length, sizeof(length));
  write_text(path, prefix + text + data);
}

Tensors read_checkpoint(const fs::path& directory) {
  Tensors all;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("model") && name.ends_with(".safetensors")) {
      all.merge(read_safetensors(entry.path().string()));
    }
  }
  return all;
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size() || b.empty()) return NAN;
  double worst = 0, largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double error = std::fabs(static_cast<double>(a[i]) - b[i]);
    if (!(error <= worst)) worst = error;  // takes a NaN and keeps it
    if (std::isnan(worst)) return NAN;
    largest = std::max(largest, std::fabs(static_cast<double>(b[i])));
  }
  return worst / largest;
}

void write_random_llama(const fs::path& directory, const LlamaSize& size) {
  fs::create_directories(directory);
  Sequence sequence(20240229);
  Tensors tensors;
  tensors["model.embed_tokens.weight"] = random_matrix(sequence, size.vocabulary, size.hidden);
  for (int64_t i = 0; i < size.layers; ++i)
    add_layer(tensors, sequence, "model.layers." + std::to_string(i) + ".", size);
  tensors["model.norm.weight"] = ones(size.hidden);
  tensors["lm_head.weight"] = random_matrix(sequence, size.vocabulary, size.hidden);
  write_safetensors(directory / "model.safetensors", tensors);
  write_text(directory / "config.json", llama_config(size).dump(1));
}

void write_random_ids(const fs::path& file, int64_t rows, int64_t tokens, int64_t vocabulary) {
  Sequence sequence(7);
  std::vector<int64_t> ids(static_cast<size_t>(rows * tokens));
  for (int64_t& id : ids)
    id = static_cast<int64_t>(sequence.next() % static_cast<uint64_t>(vocabulary));
  write_safetensors(file, {{"input_ids", i64_tensor({rows, tokens}, ids)}});
}

}  // namespace mopt::test
