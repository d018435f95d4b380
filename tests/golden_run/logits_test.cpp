// Float32 logits against transformers' for every causal model of the set: right, or refused by
// name.
#include <doctest/doctest.h>

#include <set>

#include "tests/golden_run/checkpoint.hpp"
#include "tests/golden_run/require.hpp"
#include "tests/golden_run/scratch.hpp"
#include "tests/json.hpp"

namespace mopt::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr double kTolerance = 1e-4;  // `logits_float32` of the set

// Families whose adapter this repository holds; the others may be refused.
const std::set<std::string> kOwn = {"llama", "mistral", "qwen2", "qwen3"};

struct Model {
  std::string name, model_type;
};

// The manifest's; a checkout on its own has the folders that hold weights.
std::vector<Model> models() {
  std::vector<Model> all;
  if (const std::string manifest = golden("manifest.json"); !manifest.empty()) {
    const json list = read_json(manifest);
    for (const json& c : list.at("cases")) {
      if (c.at("kind") == "causal_lm") all.push_back({c.at("name"), c.at("model_type")});
    }
    return all;
  }
  MESSAGE("no full golden set beside the checkout: only the models of tests/golden");
  for (const fs::directory_entry& entry : fs::directory_iterator(golden("models"))) {
    if (!fs::exists(entry.path() / "expected.safetensors")) continue;
    const std::string name = entry.path().filename().string();
    all.push_back({name, read_json(entry.path() / "config.json").at("model_type")});
  }
  return all;
}

void check_logits(const Scratch& scratch, const std::string& folder, const std::string& suffix) {
  const std::string expected = folder + "/expected.safetensors";
  const std::string file = (scratch / ("logits" + suffix)).string();
  const Outcome got = scratch.host({"logits", folder, "--ids", expected + ":input_ids" + suffix,
                                    "--out", file, "--dtype", "float32"});
  require_success(got);
  const StoredTensor ours = read_safetensors(file).at("logits");
  const StoredTensor theirs = read_safetensors(expected).at("logits" + suffix);
  CHECK(ours.dtype == "F32");
  CHECK(ours.shape == theirs.shape);
  const double measured = distance(floats(ours), floats(theirs));
  MESSAGE(folder << " input_ids" << suffix << ": " << measured);
  CHECK(measured <= kTolerance);
}

}  // namespace

TEST_CASE("float32 logits of the known families are transformers' within 1e-4") {
  const Scratch scratch;
  size_t checked = 0;
  for (const Model& model : models()) {
    if (!kOwn.contains(model.model_type)) continue;
    CAPTURE(model.name);
    const std::string folder = golden("models/" + model.name);
    check_logits(scratch, folder, "");
    check_logits(scratch, folder, "_short");
    ++checked;
  }
  CHECK(checked > 0);
}

TEST_CASE("a model of another family is computed right or refused by name, never wrong") {
  const Scratch scratch;
  for (const Model& model : models()) {
    if (kOwn.contains(model.model_type)) continue;
    CAPTURE(model.name);
    const std::string folder = golden("models/" + model.name);
    const Outcome got =
        scratch.host({"logits", folder, "--ids", folder + "/expected.safetensors:input_ids",
                      "--out", "logits.safetensors", "--dtype", "float32"});
    CAPTURE(got.err);
    if (got.exit == 0) {
      check_logits(scratch, folder, "");
      continue;
    }
    CHECK(got.exit == 3);
    CHECK(got.err.find("error[") != std::string::npos);
    CHECK(got.err.find(model.model_type) != std::string::npos);
    CHECK_FALSE(fs::exists(scratch / "logits.safetensors"));
  }
}

}  // namespace mopt::test
