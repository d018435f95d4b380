#include "host/cli/side_files.hpp"

#include <algorithm>
#include <fstream>

#include "host/report/json.hpp"
#include "mopt/python_json.hpp"

namespace mopt::cli {
namespace {

namespace fs = std::filesystem;

// Texts that a container without side files may hold.
constexpr const char* kDocuments[] = {"config.json",         "generation_config.json",
                                      "tokenizer.json",      "tokenizer_config.json",
                                      "chat_template.jinja", "special_tokens_map.json"};

// Weights of any kind, and what describes their files.
bool is_weight_file(const std::string& name) {
  for (const char* end : {".safetensors", ".gguf", ".bin", ".pt", ".pth", ".onnx", ".h5",
                          ".msgpack", ".index.json"}) {
    if (name.ends_with(end)) return true;
  }
  return false;
}

bool describes_quantization(const std::string& name) {
  return name == "hf_quant_config.json" || name == "quantize_config.json" ||
         name == "quantization_config.json";
}

// The float type with most bytes among what was written.
std::string written_type(const std::vector<TensorDecl>& written) {
  uint64_t bf16 = 0, f16 = 0, f32 = 0;
  for (const TensorDecl& d : written) {
    if (same(d.dtype, kBf16)) bf16 += d.bytes();
    if (same(d.dtype, kF16)) f16 += d.bytes();
    if (same(d.dtype, kF32)) f32 += d.bytes();
  }
  if (f32 > bf16 && f32 > f16) return "float32";
  return f16 > bf16 ? "float16" : "bfloat16";
}

std::string plain_config(std::string_view text, const std::vector<TensorDecl>& written) {
  Json config = Json::parse(standard_json(text), nullptr, false);
  if (!config.is_object()) return std::string(text);
  config.erase("quantization_config");
  for (const char* key : {"torch_dtype", "dtype"}) {
    if (config.contains(key)) config[key] = written_type(written);
  }
  return python_json(config.dump(2, ' ', false, Json::error_handler_t::replace)) + "\n";
}

void write_text(const fs::path& file, std::string_view text) {
  std::ofstream out(file, std::ios::binary);
  out.write(text.data(), static_cast<std::streamsize>(text.size()));
  if (!out.flush()) throw Error(MOPT_IO, "it could not be written; check the disk", file.string());
}

std::vector<std::string> side_files(const fs::path& source) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(source)) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_regular_file() || name.starts_with('.') || is_weight_file(name)) continue;
    names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

void write_side_files(const pipeline::Checkpoint& source, Weights weights,
                      const std::vector<TensorDecl>& written, const fs::path& directory) {
  const fs::path& from = source.container().path();
  const bool from_directory = fs::is_directory(from);
  if (from_directory) {
    for (const std::string& name : side_files(from)) {
      if (weights == Weights::kPlain && describes_quantization(name)) continue;
      fs::copy_file(from / name, directory / name);
    }
  }
  for (const char* name : kDocuments) {
    const std::string_view text = source.container().document(name);
    const bool config = std::string_view(name) == "config.json";
    if (text.empty()) continue;
    if (config && weights == Weights::kPlain) {
      write_text(directory / name, plain_config(text, written));
    } else if (!from_directory) {
      write_text(directory / name, text);
    }
  }
}

}  // namespace mopt::cli
