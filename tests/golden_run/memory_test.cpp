// What --check predicts against the largest resident set that the kernel saw (VmHWM), on a model
// whose blocks are larger than the program itself.
#include <doctest/doctest.h>

#include "tests/golden_run/checkpoint.hpp"
#include "tests/golden_run/require.hpp"
#include "tests/golden_run/scratch.hpp"
#include "tests/json.hpp"

namespace mopt::test {
namespace {

constexpr const char* kIds = "calibration.data=ids.safetensors";

struct Case {
  std::string name;
  std::vector<std::string> words;
};

nlohmann::json run_json(const Scratch& scratch, std::vector<std::string> words, const char* last) {
  words.emplace_back(last);
  const Outcome outcome = scratch.host(words);
  require_success(outcome);
  return parse_json(outcome.out);
}

}  // namespace

TEST_CASE("--check predicts the largest resident set within a tenth") {
  const Scratch scratch;
  LlamaOptions model = kSmallLlama;
  model.hidden = 1024;
  model.intermediate = 3072;
  model.layers = 3;
  model.vocab = 2048;
  write_llama(scratch / "model", model);
  write_ids(scratch / "ids.safetensors", 16, 512, model.vocab);
  const std::vector<std::string> rows{"--set", kIds, "--set", "calibration.samples=16"};
  const auto with_rows = [&](std::string recipe) {
    std::vector<std::string> words{"--recipe", std::move(recipe)};
    words.insert(words.end(), rows.begin(), rows.end());
    return words;
  };
  const std::vector<Case> cases = {
      {"int8_wo", {"--recipe", "int8_wo"}},
      {"int4_wo", {"--recipe", "int4_wo"}},
      {"mxfp8", {"--recipe", "mxfp8"}},
      {"sparse24_magnitude", {"--recipe", "sparse24_magnitude"}},
      {"fp8", with_rows("fp8")},
      {"nvfp4", with_rows("nvfp4")},
      {"fp8_kv", with_rows("fp8_kv")},
      {"self",
       {"--recipe", "fp8", "--set", "calibration.samples=8", "--set", "calibration.seq_len=48"}},
  };
  for (const Case& c : cases) {
    for (const std::string threads : {"1", "2"}) {
      CAPTURE(c.name);
      CAPTURE(threads);
      std::vector<std::string> words = c.words;
      for (const char* word : {"--model", "model", "--output", "out", "--overwrite", "--json"})
        words.emplace_back(word);
      words.insert(words.end(), {"--threads", threads});
      const double predicted = run_json(scratch, words, "--check")["memory"]["peak_bytes"];
      const double measured = run_json(scratch, words, "--quiet")["memory"]["peak_bytes"];
      MESSAGE(c.name, ", ", threads, " threads: ", predicted / 1e6, " MB predicted, ",
              measured / 1e6, " MB measured");
      CHECK(predicted > 0.9 * measured);
      CHECK(predicted < 1.1 * measured);
    }
  }
}

TEST_CASE("a memory limit that is too small is refused with one that works") {
  const Scratch scratch;
  write_llama(scratch / "model", kSmallLlama);
  const std::vector<std::string> words{"--recipe", "int8_wo",  "--model",
                                       "model",    "--output", "out"};
  const auto limited = [&](const std::string& limit, const std::vector<std::string>& more = {}) {
    std::vector<std::string> all = words;
    all.insert(all.end(), {"--memory-limit", limit});
    all.insert(all.end(), more.begin(), more.end());
    return scratch.host(all);
  };
  for (const std::vector<std::string>& more : {std::vector<std::string>{}, {"--check"}}) {
    const Outcome refused = limited("4MiB", more);
    CHECK(refused.exit == 6);
    CHECK(refused.err.find("error[R101]") != std::string::npos);
    CHECK(!std::filesystem::exists(scratch / "out.partial"));
    const size_t at = refused.err.find("give at least ") + 14;
    const std::string enough = refused.err.substr(at, refused.err.find("MiB", at) + 3 - at);
    CAPTURE(enough);
    require_success(limited(enough, {"--overwrite"}));
  }
}

}  // namespace mopt::test
