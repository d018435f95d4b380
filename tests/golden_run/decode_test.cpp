// What we wrote, read back: by `logits` and `eval`, and by this test's own decoding of the bytes.
#include "tests/golden_run/decode.hpp"

#include <doctest/doctest.h>

#include <cmath>

#include "tests/golden_run/checkpoint.hpp"
#include "tests/golden_run/exports.hpp"
#include "tests/golden_run/require.hpp"
#include "tests/json.hpp"

namespace mopt::test {
namespace {

using nlohmann::json;

constexpr double kTolerance = 1e-5;  // float32 weights from the same bytes; only products may round

StoredTensor logits(const Scratch& scratch, const GoldenModel& model, const std::string& checkpoint,
                    const std::vector<std::string>& more) {
  std::vector<std::string> words = {"logits", checkpoint,
                                    "--ids",  model.calibration + ":eval.input_ids",
                                    "--out",  checkpoint + ".logits"};
  words.insert(words.end(), more.begin(), more.end());
  const Outcome got = scratch.host(words);
  require_success(got);
  return read_safetensors((scratch / checkpoint).string() + ".logits").at("logits");
}

// Mean negative log-likelihood of each next id, in double.
double mean_loss(const StoredTensor& logits, const std::vector<int64_t>& ids) {
  const std::vector<float> values = floats(logits);
  const int64_t rows = logits.shape[0], tokens = logits.shape[1], vocabulary = logits.shape[2];
  double sum = 0;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t t = 0; t + 1 < tokens; ++t) {
      const float* row = &values[static_cast<size_t>((r * tokens + t) * vocabulary)];
      double total = 0;
      for (int64_t v = 0; v < vocabulary; ++v)
        total += std::exp(static_cast<double>(row[v]));
      sum += std::log(total) - row[ids[static_cast<size_t>(r * tokens + t + 1)]];
    }
  }
  return sum / static_cast<double>(rows * (tokens - 1));
}

json eval(const Scratch& scratch, const GoldenModel& model, const std::string& checkpoint,
          const std::vector<std::string>& more = {}) {
  std::vector<std::string> words = {
      "eval",     checkpoint, "--ids", model.calibration + ":eval.input_ids",
      "--window", "24",       "--json"};
  words.insert(words.end(), more.begin(), more.end());
  const Outcome got = scratch.host(words);
  require_success(got);
  return parse_json(got.out);
}

}  // namespace

TEST_CASE("logits of a weight-only output are those of the weights that its bytes mean") {
  const GoldenModel model = golden_llama();
  for (const std::string recipe : {"fp8_2d", "int4_wo", "w4a16_nvfp4", "int8_wo"}) {
    CAPTURE(recipe);
    const Scratch scratch;
    const Outcome run = run_recipe(scratch, model, recipe, "out");
    require_success(run);
    std::filesystem::create_directory(scratch / "plain");
    write_safetensors(scratch / "plain/model.safetensors",
                      decode_export(read_checkpoint(scratch / "out")));
    write_text(scratch / "plain/config.json", read_file(model.source() + "/config.json"));
    const std::vector<std::string> precise = {"--dtype", "float32"};
    const StoredTensor ours = logits(scratch, model, "out", precise);
    const StoredTensor plain = logits(scratch, model, "plain", precise);
    CHECK(ours.shape == plain.shape);
    const double measured = distance(floats(ours), floats(plain));
    MESSAGE(recipe << ": " << measured);
    CHECK(measured <= kTolerance);
  }
}

TEST_CASE("eval reports the mean loss of the logits that the same checkpoint gives") {
  const GoldenModel model = golden_llama();
  const Scratch scratch;
  const Outcome run = run_recipe(scratch, model, "fp8", "out");
  require_success(run);
  const auto ids = read_safetensors(model.calibration).at("eval.input_ids").as<int64_t>();
  const double expected = mean_loss(logits(scratch, model, "out", {}), ids);
  const json scores = eval(scratch, model, "out", {"--reference", model.source()});
  CHECK(scores.at("tokens") == 46);
  CHECK(scores.at("nll").get<double>() == doctest::Approx(expected).epsilon(1e-6));
  CHECK(scores.at("perplexity").get<double>() == doctest::Approx(std::exp(expected)).epsilon(1e-6));
  CHECK(scores.at("reference_perplexity") == eval(scratch, model, model.source()).at("perplexity"));
  CHECK(scores.at("kl_mean").get<double>() > 0);
  CHECK(scores.at("kl_mean").get<double>() < 0.05);
  CHECK(scores.at("top1_agreement").get<double>() > 0.5);
}

TEST_CASE("the output does not depend on the number of threads") {
  const GoldenModel model = golden_llama();
  for (const std::string recipe : {"fp8_kv", "nvfp4", "int8", "mxfp4", "fp8_2d"}) {
    CAPTURE(recipe);
    const Scratch one, two, five;
    for (const auto& [scratch, threads] : {std::pair{&one, "1"}, {&two, "2"}, {&five, "5"}}) {
      const Outcome run = run_recipe(*scratch, model, recipe, "out", {"--threads", threads});
      require_success(run);
    }
    const auto expected = lasting_contents(one / "out");
    CHECK(expected.contains("model.safetensors"));
    CHECK(lasting_contents(two / "out") == expected);
    CHECK(lasting_contents(five / "out") == expected);
  }
}

}  // namespace mopt::test
