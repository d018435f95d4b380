#include "host/pipeline/run_fingerprint.hpp"

#include <filesystem>
#include <vector>

#include "host/pipeline/fingerprint.hpp"
#include "host/report/hash.hpp"

namespace mopt::pipeline {

namespace fs = std::filesystem;

namespace {

void add_files(const std::string& kind, const std::vector<fs::path>& files, Fingerprint& to) {
  const std::vector<std::string> hashes = fingerprints(files);
  for (size_t i = 0; i < files.size(); ++i)
    to[kind + files[i].filename().string()] = hashes[i];
}

}  // namespace

const Fingerprint& RunFingerprint::model() {
  if (!model_.empty()) return model_;
  const std::vector<std::string> names = job_.source->container().files();
  add_files("model file ", {names.begin(), names.end()}, model_);
  model_["the model's config.json"] = xxh128_hex(config_text(*job_.source));
  return model_;
}

std::string RunFingerprint::text_key() {
  Fingerprint f = model();
  f["the program"] = program_;
  f["the recipe"] = print_resolved(job_.recipe, Origins::kOmit);
  std::string all;
  for (const auto& [name, hash] : f)
    all += name + "=" + hash + "\n";
  return xxh128_hex(all);
}

Fingerprint RunFingerprint::of(const std::string& data) {
  Fingerprint f = model();
  f["the program"] = program_;
  f["the recipe"] = xxh128_hex(print_resolved(job_.recipe, Origins::kOmit));
  std::vector<fs::path> plugins;
  for (const LoadedPlugin& plugin : job_.source->registry().plugins())
    plugins.push_back(plugin.file);
  add_files("plugin ", plugins, f);
  if (!data.empty()) f["the calibration data"] = data;
  return f;
}

}  // namespace mopt::pipeline
