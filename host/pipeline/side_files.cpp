#include <algorithm>
#include <array>

#include "host/pipeline/finish.hpp"

namespace mopt::pipeline {
namespace {

namespace fs = std::filesystem;

constexpr std::array kWeightEndings{".safetensors", ".bin", ".pt",      ".pth",  ".ckpt",
                                    ".gguf",        ".h5",  ".msgpack", ".onnx", ".pkl"};
// Descriptions of a quantization that the source does not have any more, and indexes of its shards.
constexpr std::array kOwned{"config.json",
                            "hf_quant_config.json",
                            "quant_config.json",
                            "quantization_config.json",
                            "quantize_config.json",
                            "model.safetensors.index.json",
                            "pytorch_model.bin.index.json"};
// What a container with texts of its own (GGUF) may offer.
constexpr std::array kDocuments{"generation_config.json",
                                "tokenizer.json",
                                "tokenizer_config.json",
                                "special_tokens_map.json",
                                "chat_template.jinja",
                                "vocab.json",
                                "merges.txt"};

bool goes_along(const std::string& name) {
  const bool weights = std::any_of(kWeightEndings.begin(), kWeightEndings.end(),
                                   [&](const char* ending) { return name.ends_with(ending); });
  return !weights && std::find(kOwned.begin(), kOwned.end(), name) == kOwned.end() &&
         name.front() != '.';
}

Diagnostic not_copied(const fs::path& path, std::string why) {
  Diagnostic d;
  d.code = "W112";
  d.file = path.string();
  d.message = "it was not copied: " + std::move(why);
  d.severity = Severity::kWarning;
  return d;
}

}  // namespace

std::vector<Diagnostic> copy_side_files(const Checkpoint& source, const OutputDirectory& output,
                                        const std::map<std::string, std::string>& written) {
  std::vector<Diagnostic> warnings;
  const fs::path path = source.container().path();
  if (!fs::is_directory(path)) {
    for (const char* name : kDocuments) {
      const std::string_view text = source.container().document(name);
      if (!text.empty() && !written.contains(name)) output.write(name, text);
    }
    return warnings;
  }
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(path)) {
    if (entry.is_regular_file()) {
      files.push_back(entry.path());
    } else if (entry.path().filename().string().front() != '.') {
      warnings.push_back(not_copied(entry.path(), "it is not a file"));
    }
  }
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) {
    const std::string name = file.filename();
    if (goes_along(name)) output.copy(name, file);
  }
  return warnings;
}

}  // namespace mopt::pipeline
