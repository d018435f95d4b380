// Writes a checkpoint with the layers of an 8B Llama (hidden 4096, feed-forward 14336, 32 heads, 8
// kv heads) and random BF16 weights: 0.44 GB a layer, one shard each, and a vocabulary of 32000
// (0.52 GB). Usage: make_8b_shaped DIRECTORY LAYERS
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int64_t kHidden = 4096, kFeedForward = 14336, kKv = 1024, kVocabulary = 32000;

struct Shape {
  std::string name;
  int64_t rows, cols;  // cols 0: a vector
};

// BF16 bits of 65536 draws from N(0, 0.02); every weight is one of them, picked by 16 random bits.
std::vector<uint16_t> draws() {
  std::mt19937_64 random(1);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  std::vector<uint16_t> bits(65536);
  for (uint16_t& b : bits) {
    const float x = normal(random);
    uint32_t wide;
    std::memcpy(&wide, &x, sizeof(wide));
    b = static_cast<uint16_t>(wide >> 16);
  }
  return bits;
}

class Writer {
 public:
  explicit Writer(fs::path directory) : directory_(std::move(directory)), draws_(draws()) {}

  void shard(const std::string& file, const std::vector<Shape>& shapes) {
    json header;
    int64_t offset = 0;
    for (const Shape& s : shapes) {
      const int64_t bytes = 2 * s.rows * (s.cols == 0 ? 1 : s.cols);
      header[s.name] = {{"dtype", "BF16"},
                        {"shape", s.cols == 0 ? json{s.rows} : json{s.rows, s.cols}},
                        {"data_offsets", {offset, offset + bytes}}};
      offset += bytes;
      map_[s.name] = file;
    }
    total_ += offset;
    std::string text = header.dump();
    text.resize((text.size() + 7) / 8 * 8, ' ');
    const uint64_t length = text.size();
    std::ofstream out(directory_ / file, std::ios::binary);
    out.write(reinterpret_cast<const char*>(&length), sizeof(length));
    out << text;
    fill(out, offset / 2);
    if (!out.flush()) throw std::runtime_error("cannot write " + file);
  }

  void finish(int layers) {
    const json config{{"architectures", {"LlamaForCausalLM"}},
                      {"model_type", "llama"},
                      {"hidden_size", kHidden},
                      {"intermediate_size", kFeedForward},
                      {"num_hidden_layers", layers},
                      {"num_attention_heads", 32},
                      {"num_key_value_heads", 8},
                      {"vocab_size", kVocabulary},
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
    std::ofstream(directory_ / "config.json") << config.dump(1);
    std::ofstream(directory_ / "model.safetensors.index.json")
        << json{{"metadata", {{"total_size", total_}}}, {"weight_map", map_}}.dump(1);
    std::cout << total_ << " bytes in " << directory_.string() << "\n";
  }

 private:
  void fill(std::ostream& out, int64_t elements) {
    std::vector<uint16_t> chunk(1 << 20);
    for (int64_t done = 0; done < elements; done += static_cast<int64_t>(chunk.size())) {
      for (size_t i = 0; i < chunk.size(); i += 4) {
        const uint64_t bits = random_();
        for (size_t k = 0; k < 4; ++k)
          chunk[i + k] = draws_[bits >> (16 * k) & 0xFFFF];
      }
      const int64_t n = std::min(elements - done, static_cast<int64_t>(chunk.size()));
      out.write(reinterpret_cast<const char*>(chunk.data()), 2 * n);
    }
  }

  fs::path directory_;
  std::vector<uint16_t> draws_;
  std::mt19937_64 random_{7};
  json map_;
  int64_t total_ = 0;
};

std::vector<Shape> layer(int i) {
  const std::string p = "model.layers." + std::to_string(i) + ".";
  return {{p + "input_layernorm.weight", kHidden, 0},
          {p + "mlp.down_proj.weight", kHidden, kFeedForward},
          {p + "mlp.gate_proj.weight", kFeedForward, kHidden},
          {p + "mlp.up_proj.weight", kFeedForward, kHidden},
          {p + "post_attention_layernorm.weight", kHidden, 0},
          {p + "self_attn.k_proj.weight", kKv, kHidden},
          {p + "self_attn.o_proj.weight", kHidden, kHidden},
          {p + "self_attn.q_proj.weight", kHidden, kHidden},
          {p + "self_attn.v_proj.weight", kKv, kHidden}};
}

std::string file_name(int i, int n) {
  std::array<char, 64> name{};
  std::snprintf(name.data(), name.size(), "model-%05d-of-%05d.safetensors", i, n);
  return name.data();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: make_8b_shaped DIRECTORY LAYERS\n";
    return 2;
  }
  try {
    const int layers = std::stoi(argv[2]);
    fs::create_directories(argv[1]);
    Writer writer(argv[1]);
    for (int i = 0; i < layers; ++i)
      writer.shard(file_name(i + 1, layers + 1), layer(i));
    writer.shard(file_name(layers + 1, layers + 1),
                 {{"lm_head.weight", kVocabulary, kHidden},
                  {"model.embed_tokens.weight", kVocabulary, kHidden},
                  {"model.norm.weight", kHidden, 0}});
    writer.finish(layers);
    return 0;
  } catch (const std::exception& e) {
    std::cerr << "make_8b_shaped: " << e.what() << "\n";
    return 1;
  }
}
