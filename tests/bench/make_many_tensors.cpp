// Writes a checkpoint of many small BF16 tensors whose data is a hole in a sparse file: only
// headers, index and config.json take room. Usage: make_many_tensors DIRECTORY experts|llama
// TENSORS
//   experts  64 layers of a mixture of experts, for adapter "none"; 100 files
//   llama    decoder layers of 9 tensors and their surroundings, which the llama adapter takes
#include <sys/types.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

constexpr int64_t kHidden = 64, kFeedForward = 128, kVocabulary = 256;
constexpr size_t kFiles = 100;

struct Shape {
  std::string name;
  int64_t rows, cols;  // cols 0: a vector
  int64_t bytes() const { return 2 * rows * (cols == 0 ? 1 : cols); }
};

std::vector<Shape> surroundings() {
  return {{"lm_head.weight", kVocabulary, kHidden},
          {"model.embed_tokens.weight", kVocabulary, kHidden},
          {"model.norm.weight", kHidden, 0}};
}

void add_attention(std::vector<Shape>& out, const std::string& layer) {
  out.push_back({layer + "input_layernorm.weight", kHidden, 0});
  out.push_back({layer + "post_attention_layernorm.weight", kHidden, 0});
  for (const char* module : {"k_proj", "o_proj", "q_proj", "v_proj"})
    out.push_back({layer + "self_attn." + module + ".weight", kHidden, kHidden});
}

void add_mlp(std::vector<Shape>& out, const std::string& parent) {
  out.push_back({parent + "down_proj.weight", kHidden, kFeedForward});
  out.push_back({parent + "gate_proj.weight", kFeedForward, kHidden});
  out.push_back({parent + "up_proj.weight", kFeedForward, kHidden});
}

std::vector<Shape> experts(size_t n) {
  constexpr size_t kLayers = 64;
  std::vector<Shape> out = surroundings();
  for (size_t i = 0; i < kLayers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    add_attention(out, layer);
    const size_t end = n * (i + 1) / kLayers;
    for (size_t e = 0; out.size() + 3 <= end; ++e)
      add_mlp(out, layer + "mlp.experts." + std::to_string(e) + ".");
  }
  while (out.size() < n)
    out.push_back({"model.extra." + std::to_string(out.size()), kHidden, 0});
  return out;
}

std::vector<Shape> llama(size_t n) {
  std::vector<Shape> out = surroundings();
  for (size_t i = 0; out.size() + 9 <= n; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    add_attention(out, layer);
    add_mlp(out, layer + "mlp.");
  }
  return out;
}

std::string file_name(size_t i) {
  char name[64];
  std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", i + 1, kFiles);
  return name;
}

std::string entry(const Shape& s, int64_t offset) {
  return "\"" + s.name + R"(":{"dtype":"BF16","shape":[)" + std::to_string(s.rows) +
         (s.cols == 0 ? "" : "," + std::to_string(s.cols)) + R"(],"data_offsets":[)" +
         std::to_string(offset) + "," + std::to_string(offset + s.bytes()) + "]}";
}

// The header, and a hole where the data would be.
void write_file(const fs::path& path, const Shape* begin, const Shape* end) {
  std::string text = "{";
  int64_t offset = 0;
  for (const Shape* s = begin; s != end; ++s) {
    text += (s == begin ? "" : ",") + entry(*s, offset);
    offset += s->bytes();
  }
  text += '}';
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(&length), sizeof(length));
  out << text;
  out.close();
  if (!out || truncate(path.c_str(), static_cast<off_t>(8 + length) + offset) != 0) {
    throw std::runtime_error("cannot write " + path.string());
  }
}

void write_checkpoint(const fs::path& directory, const std::vector<Shape>& shapes) {
  std::map<std::string, size_t> home;
  int64_t total = 0;
  for (size_t i = 0; i < kFiles; ++i) {
    const size_t begin = shapes.size() * i / kFiles, end = shapes.size() * (i + 1) / kFiles;
    write_file(directory / file_name(i), shapes.data() + begin, shapes.data() + end);
    for (size_t k = begin; k < end; ++k) {
      home[shapes[k].name] = i;
      total += shapes[k].bytes();
    }
  }
  std::ofstream index(directory / "model.safetensors.index.json");
  index << "{\n  \"metadata\": {\n    \"total_size\": " << total << "\n  },\n  \"weight_map\": {";
  const char* separator = "\n";
  for (const auto& [name, file] : home) {
    index << separator << "    \"" << name << "\": \"" << file_name(file) << '"';
    separator = ",\n";
  }
  index << "\n  }\n}\n";
}

void write_config(const fs::path& directory, size_t layers) {
  std::ofstream(directory / "config.json")
      << R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",)"
      << R"( "num_attention_heads": 1, "num_key_value_heads": 1, "rms_norm_eps": 1e-5,)"
      << R"( "rope_theta": 10000.0, "max_position_embeddings": 512, "attention_bias": false,)"
      << R"( "mlp_bias": false, "tie_word_embeddings": false, "torch_dtype": "bfloat16")"
      << ", \"hidden_size\": " << kHidden << ", \"intermediate_size\": " << kFeedForward
      << ", \"vocab_size\": " << kVocabulary << ", \"num_hidden_layers\": " << layers << "}\n";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: make_many_tensors DIRECTORY experts|llama TENSORS\n";
    return 2;
  }
  try {
    const bool moe = std::string(argv[2]) == "experts";
    const std::vector<Shape> shapes =
        moe ? experts(std::stoull(argv[3])) : llama(std::stoull(argv[3]));
    fs::create_directories(argv[1]);
    write_checkpoint(argv[1], shapes);
    write_config(argv[1], moe ? 64 : (shapes.size() - 3) / 9);
    std::cout << shapes.size() << " tensors in " << argv[1] << "\n";
    return 0;
  } catch (const std::exception& e) {
    std::cerr << "make_many_tensors: " << e.what() << "\n";
    return 1;
  }
}
