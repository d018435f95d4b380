// Small models for tests, written without any code of the product: safetensors files, and a llama
// of a few kilobytes whose weights are a function of their names.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace mopt::test {

// A directory that goes with the object.
class TempDir {
 public:
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "mopt-test-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

inline void write_text(const std::filesystem::path& path, std::string_view text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

struct FileTensor {
  std::string name, dtype;  // "BF16", "F16", "F32", "I64", "U8"
  std::vector<int64_t> shape;
  std::string bytes;
};

inline void write_safetensors(const std::filesystem::path& path,
                              const std::vector<FileTensor>& tensors) {
  nlohmann::ordered_json header;
  uint64_t at = 0;
  for (const FileTensor& t : tensors) {
    header[t.name] = {
        {"dtype", t.dtype}, {"shape", t.shape}, {"data_offsets", {at, at + t.bytes.size()}}};
    at += t.bytes.size();
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t size = text.size();
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(&size), 8);
  out << text;
  for (const FileTensor& t : tensors)
    out << t.bytes;
}

// binary16 of a small multiple of 2^-10, exact.
inline uint16_t half_bits(float x) {
  uint32_t bits = 0;
  std::memcpy(&bits, &x, 4);
  if ((bits & 0x7FFFFFFF) == 0) return static_cast<uint16_t>(bits >> 16);
  const uint32_t exponent = (bits >> 23 & 0xFF) - 112;
  return static_cast<uint16_t>((bits >> 16 & 0x8000) | exponent << 10 | (bits >> 13 & 0x3FF));
}

// Values mean + k / 128 with |k| < 64, exact in every type, drawn by the tensor's name.
inline FileTensor random_tensor(const std::string& name, const std::string& dtype,
                                std::vector<int64_t> shape, float mean = 0) {
  FileTensor t{name, dtype, std::move(shape), {}};
  const auto n = std::accumulate(t.shape.begin(), t.shape.end(), int64_t{1}, std::multiplies<>());
  std::mt19937 random(
      std::accumulate(name.begin(), name.end(), 7u, [](unsigned h, char c) { return h * 31 + c; }));
  for (int64_t i = 0; i < n; ++i) {
    const float x = mean + (static_cast<float>(random() % 127) - 63.0f) / 128.0f;
    uint32_t bits = 0;
    std::memcpy(&bits, &x, 4);
    const uint16_t narrow = dtype == "F16" ? half_bits(x) : static_cast<uint16_t>(bits >> 16);
    const char* from = dtype == "F32" ? reinterpret_cast<const char*>(&bits)
                                      : reinterpret_cast<const char*>(&narrow);
    t.bytes.append(from, dtype == "F32" ? 4 : 2);
  }
  return t;
}

enum class Head { kOwn, kTied, kTiedAndStored };

struct LlamaOptions {
  int64_t layers = 2, hidden = 32, intermediate = 64, heads = 2, kv_heads = 1, vocab = 48;
  std::string dtype = "BF16";
  Head head = Head::kOwn;
  std::string bias = "none";  // "qkvo": attention_bias
  std::vector<FileTensor> more = {};
};

inline std::vector<FileTensor> llama_tensors(const LlamaOptions& o) {
  std::vector<FileTensor> tensors;
  const auto add = [&](const std::string& name, std::vector<int64_t> shape, float mean = 0) {
    tensors.push_back(random_tensor(name, o.dtype, std::move(shape), mean));
  };
  const int64_t head = o.hidden / o.heads, kv = o.kv_heads * head;
  add("model.embed_tokens.weight", {o.vocab, o.hidden});
  for (int64_t i = 0; i < o.layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    add(layer + "input_layernorm.weight", {o.hidden}, 1);
    for (const auto& [name, rows] :
         {std::pair{"q", o.hidden}, {"k", kv}, {"v", kv}, {"o", o.hidden}}) {
      add(layer + "self_attn." + name + "_proj.weight", {rows, o.hidden});
      if (o.bias == "qkvo") add(layer + "self_attn." + name + "_proj.bias", {rows});
    }
    add(layer + "post_attention_layernorm.weight", {o.hidden}, 1);
    add(layer + "mlp.gate_proj.weight", {o.intermediate, o.hidden});
    add(layer + "mlp.up_proj.weight", {o.intermediate, o.hidden});
    add(layer + "mlp.down_proj.weight", {o.hidden, o.intermediate});
  }
  add("model.norm.weight", {o.hidden}, 1);
  if (o.head == Head::kOwn) add("lm_head.weight", {o.vocab, o.hidden});
  if (o.head == Head::kTiedAndStored) {
    tensors.push_back(tensors.front());
    tensors.back().name = "lm_head.weight";
  }
  tensors.insert(tensors.end(), o.more.begin(), o.more.end());
  return tensors;
}

inline nlohmann::json llama_config(const LlamaOptions& o) {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_size", o.hidden},
          {"intermediate_size", o.intermediate},
          {"num_hidden_layers", o.layers},
          {"num_attention_heads", o.heads},
          {"num_key_value_heads", o.kv_heads},
          {"vocab_size", o.vocab},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 10000.0},
          {"hidden_act", "silu"},
          {"max_position_embeddings", 128},
          {"attention_bias", o.bias == "qkvo"},
          {"tie_word_embeddings", o.head != Head::kOwn},
          {"eos_token_id", 1},
          {"torch_dtype", o.dtype == "BF16"  ? "bfloat16"
                          : o.dtype == "F16" ? "float16"
                                             : "float32"}};
}

inline void write_llama(const std::filesystem::path& dir, const LlamaOptions& options = {}) {
  std::filesystem::create_directories(dir);
  write_safetensors(dir / "model.safetensors", llama_tensors(options));
  write_text(dir / "config.json", llama_config(options).dump());
}

// An id file: "input_ids" [rows, tokens], I64.
inline void write_ids(const std::filesystem::path& path, int64_t rows, int64_t tokens,
                      int64_t vocab, unsigned seed = 1) {
  FileTensor t{"input_ids", "I64", {rows, tokens}, {}};
  std::mt19937 random(seed);
  for (int64_t i = 0; i < rows * tokens; ++i) {
    const int64_t id = static_cast<int64_t>(random()) % vocab;
    t.bytes.append(reinterpret_cast<const char*>(&id), 8);
  }
  write_safetensors(path, {t});
}

}  // namespace mopt::test
