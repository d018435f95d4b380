#include "tests/golden_run/exports.hpp"

#include "tests/golden.hpp"

namespace mopt::test {
namespace {

namespace fs = std::filesystem;

fs::path recipe_file(const std::string& recipe) {
  return fs::path(host_program()).parent_path().parent_path() / "share/mopt/recipes/general" /
         (recipe + ".toml");
}

}  // namespace

GoldenModel golden_llama() {
  std::string full = golden("modelopt/llama/source/model.safetensors");
  const std::string name = full.empty() ? "modelopt/llama_layer0" : "modelopt/llama";
  return {golden(name), golden(name + "/calib.safetensors"),
          full.empty() ? Coverage::kPart : Coverage::kAll};
}

bool in_library(const std::string& recipe) {
  return fs::exists(recipe_file(recipe));
}

bool calibrates(const std::string& recipe) {
  const std::string text = read_file(recipe_file(recipe).string());
  if (text.find("\n[calibration]") != std::string::npos) return true;
  const std::string key = "\nextends = [\"general/";
  const size_t at = text.find(key);
  if (at == std::string::npos) return false;
  const size_t begin = at + key.size();
  return calibrates(text.substr(begin, text.find('"', begin) - begin));
}

Outcome run_recipe(const Scratch& scratch, const GoldenModel& model, const std::string& recipe,
                   const std::string& output, const std::vector<std::string>& more) {
  std::vector<std::string> words = {"--recipe",     recipe,     "--model",
                                    model.source(), "--output", output};
  if (calibrates(recipe)) {
    words.insert(words.end(), {"--set", "calibration.data=\"" + model.calibration + ":batch.*\"",
                               "--set", "calibration.seq_len=32"});
  }
  words.insert(words.end(), more.begin(), more.end());
  return scratch.host(words);
}

}  // namespace mopt::test
