// Recipes of the library against ModelOpt's exports, and INT8 against its definition.
#include <doctest/doctest.h>

#include <cmath>
#include <set>

#include "tests/golden_run/checkpoint.hpp"
#include "tests/golden_run/exports.hpp"
#include "tests/golden_run/require.hpp"
#include "tests/json.hpp"

namespace mopt::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Recipes whose exports are compared byte for byte with the full set; fewer would be a hole.
constexpr size_t kRecipes = 10;

// Names of exports that derive from weights and maxima alone, for which the library has a recipe.
std::vector<std::string> compared_exports(const GoldenModel& model) {
  std::vector<std::string> names;
  if (model.coverage == Coverage::kPart) {
    MESSAGE("no full golden set beside the checkout: only the exports of tests/golden");
    for (const fs::directory_entry& entry : fs::directory_iterator(model.folder)) {
      if (fs::exists(entry.path() / "hf_quant_config.json"))
        names.push_back(entry.path().filename().string());
    }
    return names;
  }
  const json manifest = read_json(golden("manifest.json"));
  for (const json& c : manifest.at("cases")) {
    if (c.at("kind") != "export" || c.at("model") != "llama") continue;
    const std::string tolerance = c.at("tolerance"), format = c.at("format");
    if (tolerance != "export_weights_only" && tolerance != "export_static_input") continue;
    if (in_library(format)) names.push_back(format);
  }
  CHECK(names.size() >= kRecipes);
  return names;
}

// Keys that transformers renames, adds or drops when it rewrites a config.
const std::set<std::string> kRewritten = {"dtype",
                                          "rope_parameters",
                                          "transformers_version",
                                          "num_local_experts",
                                          "layer_types",
                                          "head_dim",
                                          "attention_dropout",
                                          "initializer_range",
                                          "pad_token_id",
                                          "pretraining_tp",
                                          "use_cache",
                                          "use_bidirectional_attention",
                                          "_sliding_window_pattern"};

void check_configs(const fs::path& ours, const GoldenModel& model, const std::string& name) {
  const fs::path expected = model.expected(name);
  json config = read_json(ours / "config.json");
  config.erase("quantization_config");
  CHECK(config == read_json(model.source() + "/config.json"));
  const json golden_config = read_json(expected / "config.json");
  for (const auto& [key, value] : golden_config.items()) {
    if (key == "quantization_config" || kRewritten.contains(key)) continue;
    if (key == "num_hidden_layers" && model.coverage == Coverage::kPart) continue;
    CAPTURE(key);
    CHECK(config.value(key, json()) == value);
  }
  if (!fs::exists(expected / "generation_config.json")) return;
  const json generation = read_json(ours / "generation_config.json");
  const json golden_generation = read_json(expected / "generation_config.json");
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) {
    CAPTURE(key);
    CHECK(generation.value(key, json()) == golden_generation.value(key, json()));
  }
}

// How far the scales of activations are: they may differ by 2^-6, correct hosts have most equal.
std::string activation_scales(const fs::path& ours, const fs::path& expected) {
  const Tensors got = read_checkpoint(ours);
  size_t equal = 0, all = 0;
  double worst = 0;
  for (const auto& [name, tensor] : read_checkpoint(expected)) {
    if (!name.ends_with(".input_scale") && !name.ends_with(".k_scale") &&
        !name.ends_with(".v_scale")) {
      continue;
    }
    ++all;
    const double error = distance(floats(got.at(name)), floats(tensor));
    equal += error == 0 ? 1 : 0;
    worst = std::max(worst, error);
  }
  if (all == 0) return "none of activations";
  return std::to_string(equal) + " of " + std::to_string(all) +
         " of activations bit-equal, others within " + std::to_string(worst);
}

void check_verifies(const Scratch& scratch, const GoldenModel& model, const std::string& output) {
  const Outcome verdict = scratch.host({"verify", output, "--source", model.source(), "--json"});
  require_success(verdict);
  CHECK(parse_json(verdict.out).at("ok") == true);
}

// Scale and codes of a row: absmax/127, then the nearest integer of the quotient, ties to even.
void check_int8_row(const float* row, int64_t columns, const char* codes, float scale) {
  float largest = 0;
  for (int64_t c = 0; c < columns; ++c)
    largest = std::max(largest, std::fabs(row[c]));
  REQUIRE(scale == largest / 127.0f);
  for (int64_t c = 0; c < columns; ++c) {
    const double quotient = std::nearbyint(static_cast<double>(row[c] / scale));
    REQUIRE(static_cast<int>(static_cast<signed char>(codes[c])) == static_cast<int>(quotient));
  }
}

// Returns the number of weights that were quantized.
size_t check_int8_weights(const Tensors& source, const Tensors& written) {
  size_t quantized = 0;
  for (const auto& [name, tensor] : source) {
    CAPTURE(name);
    REQUIRE(written.contains(name));
    const StoredTensor& ours = written.at(name);
    CHECK(ours.shape == tensor.shape);
    const bool linear = name.find("_proj.weight") != std::string::npos;
    if (!linear) {
      CHECK(ours.dtype == tensor.dtype);
      CHECK(ours.bytes == tensor.bytes);
      continue;
    }
    ++quantized;
    CHECK(ours.dtype == "I8");
    const StoredTensor& scale = written.at(name + "_scale");
    CHECK(scale.dtype == "F32");
    REQUIRE(scale.shape == std::vector<int64_t>{tensor.shape[0]});
    const std::vector<float> values = floats(tensor), scales = floats(scale);
    const int64_t columns = tensor.shape[1];
    for (int64_t r = 0; r < tensor.shape[0]; ++r) {
      check_int8_row(&values[static_cast<size_t>(r * columns)], columns,
                     &ours.bytes[static_cast<size_t>(r * columns)], scales[static_cast<size_t>(r)]);
    }
  }
  return quantized;
}

// The same activations as in the FP8 export, so the same maximum: scale * 127 here, * 448 there.
void check_int8_inputs(const Tensors& written, const Tensors& fp8) {
  size_t compared = 0;
  for (const auto& [name, tensor] : fp8) {
    if (!name.ends_with(".input_scale")) continue;
    CAPTURE(name);
    REQUIRE(written.contains(name));
    const double expected = static_cast<double>(tensor.as<float>()[0]) * 448;
    const double ours = static_cast<double>(floats(written.at(name))[0]) * 127;
    CHECK(std::fabs(ours - expected) <= 0x1p-6 * expected);
    ++compared;
  }
  CHECK(compared >= 7);
}

std::string quant_algo(const fs::path& output) {
  return read_json(output / "hf_quant_config.json").at("quantization").at("quant_algo");
}

}  // namespace

TEST_CASE("every max-calibrated recipe of the library writes ModelOpt's export") {
  const GoldenModel model = golden_llama();
  for (const std::string& name : compared_exports(model)) {
    CAPTURE(name);
    const Scratch scratch;
    const Outcome run = run_recipe(scratch, model, name, "out");
    require_success(run);
    CHECK_NOTHROW(check_export(scratch / "out", model.expected(name), model.coverage));
    check_configs(scratch / "out", model, name);
    check_verifies(scratch, model, "out");
    MESSAGE(name << ": scales: " << activation_scales(scratch / "out", model.expected(name)));
  }
}

TEST_CASE("recipes that need no data write ModelOpt's export of families without an adapter") {
  const std::string manifest = golden("manifest.json");
  if (manifest.empty()) {
    MESSAGE("no full golden set beside the checkout: skipped");
    return;
  }
  size_t compared = 0;
  const json list = read_json(manifest);
  for (const json& c : list.at("cases")) {
    if (c.at("kind") != "export" || c.at("tolerance") != "export_weights_only") continue;
    const std::string name = c.at("name"), format = c.at("format");
    if (c.at("model") == "llama" || !in_library(format)) continue;
    CAPTURE(name);
    const GoldenModel model{golden("modelopt/" + std::string(c.at("model"))), "", Coverage::kAll};
    const Scratch scratch;
    const Outcome run = run_recipe(scratch, model, format, "out", {"--set", "model.adapter=none"});
    require_success(run);
    CHECK_NOTHROW(check_export(scratch / "out", model.expected(format), model.coverage));
    check_configs(scratch / "out", model, format);
    ++compared;
  }
  CHECK(compared >= 6);
}

TEST_CASE("int8_wo writes absmax/127 scales per row and nearest codes, and copies the rest") {
  const GoldenModel model = golden_llama();
  const Scratch scratch;
  const Outcome run = run_recipe(scratch, model, "int8_wo", "out");
  require_success(run);
  const Tensors source = read_checkpoint(model.source()), ours = read_checkpoint(scratch / "out");
  const size_t quantized = check_int8_weights(source, ours);
  CHECK(quantized >= 7);
  CHECK(ours.size() == source.size() + quantized);
  CHECK(quant_algo(scratch / "out") == "W8A16");
  check_verifies(scratch, model, "out");
}

TEST_CASE("int8 adds input scales from the maxima that ModelOpt's FP8 export saw") {
  const GoldenModel model = golden_llama();
  const Scratch scratch;
  const Outcome run = run_recipe(scratch, model, "int8", "out");
  require_success(run);
  const Tensors source = read_checkpoint(model.source()), ours = read_checkpoint(scratch / "out");
  const size_t quantized = check_int8_weights(source, ours);
  CHECK(ours.size() == source.size() + 2 * quantized);
  check_int8_inputs(ours, read_checkpoint(model.expected("fp8")));
  CHECK(quant_algo(scratch / "out") == "W8A8_SQ_PER_CHANNEL");
  check_verifies(scratch, model, "out");
}

}  // namespace mopt::test
