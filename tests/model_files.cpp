#include "tests/model_files.hpp"

#include <cstring>
#include <fstream>
#include <iterator>
#include <numeric>
#include <random>
#include <stdexcept>

#include "tests/json.hpp"

namespace mopt::test {

void write_text(const std::filesystem::path& path, std::string_view text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream out(path, std::ios::binary);
  out << text;
  out.close();
  if (!out) throw std::runtime_error("cannot write " + path.string());
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_safetensors(const std::filesystem::path& path, const std::vector<FileTensor>& tensors) {
  std::string text;
  uint64_t at = 0;
  for (const FileTensor& t : tensors) {
    std::string shape;
    for (const int64_t extent : t.shape)
      shape += (shape.empty() ? "" : ",") + std::to_string(extent);
    // Names of tests need no escapes.
    text += (text.empty() ? "{\"" : ",\"") + t.name + R"(":{"dtype":")" + t.dtype +
            R"(","shape":[)" + shape + R"(],"data_offsets":[)" + std::to_string(at) + "," +
            std::to_string(at + t.bytes.size()) + "]}";
    at += t.bytes.size();
  }
  text += text.empty() ? "{}" : "}";
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t size = text.size();
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(&size), 8);
  out << text;
  for (const FileTensor& t : tensors)
    out << t.bytes;
}

uint16_t half_bits(float x) {
  uint32_t bits = 0;
  std::memcpy(&bits, &x, 4);
  if ((bits & 0x7FFFFFFF) == 0) return static_cast<uint16_t>(bits >> 16);
  const uint32_t exponent = (bits >> 23 & 0xFF) - 112;
  return static_cast<uint16_t>((bits >> 16 & 0x8000) | exponent << 10 | (bits >> 13 & 0x3FF));
}

FileTensor random_tensor(const std::string& name, const std::string& dtype,
                         std::vector<int64_t> shape, float mean) {
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

std::vector<FileTensor> llama_tensors(const LlamaOptions& o) {
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

nlohmann::json llama_config(const LlamaOptions& o) {
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
          {"max_position_embeddings", o.positions},
          {"attention_bias", o.bias == "qkvo"},
          {"tie_word_embeddings", o.head != Head::kOwn},
          {"eos_token_id", 1},
          {"torch_dtype", o.dtype == "BF16"  ? "bfloat16"
                          : o.dtype == "F16" ? "float16"
                                             : "float32"}};
}

void write_llama(const std::filesystem::path& dir, const LlamaOptions& options) {
  std::filesystem::create_directories(dir);
  write_safetensors(dir / "model.safetensors", llama_tensors(options));
  write_text(dir / "config.json", json_text(llama_config(options)));
}

void write_ids(const std::filesystem::path& path, int64_t rows, int64_t tokens, int64_t vocab,
               unsigned seed) {
  FileTensor t{"input_ids", "I64", {rows, tokens}, {}};
  std::mt19937 random(seed);
  for (int64_t i = 0; i < rows * tokens; ++i) {
    const int64_t id = static_cast<int64_t>(random()) % vocab;
    t.bytes.append(reinterpret_cast<const char*>(&id), 8);
  }
  write_safetensors(path, {t});
}

}  // namespace mopt::test
