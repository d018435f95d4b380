#include "host/pipeline/evaluate.hpp"

#include <cmath>
#include <filesystem>

#include "host/compute/kernels.hpp"
#include "host/pipeline/pipeline_test.hpp"
#include "host/pipeline/run.hpp"
#include "tests/emulated_device/emulated_device.hpp"
#include "tests/model_files.hpp"

namespace mopt::pipeline::test {
namespace {

namespace fs = std::filesystem;
using compute::test::EmulatedDevice;
using compute::test::WorkMode;

// Two models of one shape: `other` is what `source` is held against.
struct Pair : Fixture {
  std::unique_ptr<Checkpoint> other;
  PlainLlama plain_other;
  TokenRows windows;
  Pair() {
    write_model({.vocab = 60});
    plain_other = plain;
    fs::copy(path("model"), path("other"), fs::copy_options::recursive);
    other = Checkpoint::open(registry, path("other"));
    write_model({.vocab = 60, .edits = {{"model.norm.weight", 3, 4.0f}}});
    // Rows of several lengths, one longer than a piece of the head.
    for (const int64_t length : {20, 20, 90, 7})
      windows.push_back(random_ids(length, 60, static_cast<unsigned>(length)));
  }
};

struct Wanted {
  double nll = 0, reference_nll = 0, kl = 0, agreed = 0;
  int64_t tokens = 0;
};

// Of token `t` of logits [T, V]: log of the softmax, in double.
Doubles log_softmax(const Doubles& logits, int64_t t, int64_t v) {
  const auto first = logits.begin() + t * v;
  Doubles x(first, first + v);
  double sum = 0;
  for (const double a : x)
    sum += std::exp(a);
  for (double& a : x)
    a -= std::log(sum);
  return x;
}

Wanted plain_scores(const Pair& pair) {
  Wanted w;
  for (const Ids& ids : pair.windows) {
    const Doubles ours = pair.plain.run(ids).logits, theirs = pair.plain_other.run(ids).logits;
    for (size_t t = 0; t + 1 < ids.size(); ++t) {
      const Doubles q = log_softmax(ours, static_cast<int64_t>(t), 60);
      const Doubles p = log_softmax(theirs, static_cast<int64_t>(t), 60);
      const auto next = static_cast<size_t>(ids[t + 1]);
      w.nll -= q[next];
      w.reference_nll -= p[next];
      for (size_t i = 0; i < p.size(); ++i)
        w.kl += std::exp(p[i]) * (p[i] - q[i]);
      w.agreed += std::max_element(p.begin(), p.end()) - p.begin() ==
                  std::max_element(q.begin(), q.end()) - q.begin();
      ++w.tokens;
    }
  }
  return w;
}

TEST_CASE_FIXTURE(Pair, "scores and divergences are those of the models in double, anywhere") {
  const Wanted want = plain_scores(*this);
  const auto n = static_cast<double>(want.tokens);
  REQUIRE(want.kl / n > 1e-3);
  REQUIRE(want.agreed < n);
  for (const int where : {0, 1, 2}) {
    CAPTURE(where);
    EmulatedDevice device({.work = where == 1 ? WorkMode::kAtOnce : WorkMode::kOnThread});
    EvalOptions options;
    options.forward = in_type(kF32);
    if (where > 0) options.use(&device, services);
    const Scores got = evaluate(*source, windows, options, other.get());
    CHECK(got.tokens == want.tokens);
    CHECK(got.nll == doctest::Approx(want.nll / n).epsilon(1e-5));
    REQUIRE(got.reference.has_value());
    CHECK(got.reference->perplexity ==
          doctest::Approx(std::exp(want.reference_nll / n)).epsilon(1e-5));
    CHECK(got.reference->kl_mean == doctest::Approx(want.kl / n).epsilon(1e-4));
    CHECK(got.reference->kl_p99 >= got.reference->kl_mean);
    CHECK(got.reference->top1_agreement == doctest::Approx(want.agreed / n).epsilon(1e-9));
    const Scores alone = evaluate(*source, windows, options);
    CHECK(alone.nll == got.nll);
    CHECK_FALSE(alone.reference.has_value());
    CHECK((device.works() > 0) == (where > 0));
    CHECK(device.complaints() == std::vector<std::string>());
    CHECK(device.pinned_bytes() == 0);
  }
}

// The gate of a run whose output is a plain copy: what is evaluated are the windows alone.
struct Gated : Fixture {
  RunResult run_on(compute::Device* device, const std::string& name,
                   const std::function<void(const std::string&)>& say = {}) {
    Prepared job = prepared(
        "[[quantize.rule]]\nid = \"l\"\nrole = [\"mlp.*\"]\nweight = \"int8\"\n"
        "[[eval]]\nid = \"ppl\"\nkind = \"perplexity\"\ndata = \"" +
        path("ids.safetensors").string() + "\"\nwindow = 24\n[export]\npath = \"" +
        path(name).string() + "\"\n");
    RunRequest request;
    for (const std::string_view kernel : compute::all_kernels()) {
      if (kernel.ends_with(".reference")) request.kernels.forced.emplace_back(kernel);
    }
    request.on_device = device;
    request.threads = 2;
    request.say = say;
    return run(job, request);
  }
};

TEST_CASE_FIXTURE(Gated, "[[eval]] of a run computes where the run does") {
  write_model({.dtype = "BF16"});
  mopt::test::write_ids(path("ids.safetensors"), 4, 24, 48);
  const RunResult cpu = run_on(nullptr, "cpu");
  EmulatedDevice device({.work = WorkMode::kOnThread});
  const RunResult there = run_on(&device, "there");
  REQUIRE(cpu.report.eval.size() == 1);
  REQUIRE(there.report.eval.size() == 1);
  CHECK(there.report.eval[0].tokens == cpu.report.eval[0].tokens);
  CHECK(there.report.eval[0].nll == doctest::Approx(cpu.report.eval[0].nll).epsilon(1e-5));
  CHECK(there.report.eval[0].reference_perplexity ==
        doctest::Approx(cpu.report.eval[0].reference_perplexity).epsilon(1e-5));
  CHECK(device.complaints() == std::vector<std::string>());
  // Weights alone take no forward: the works beyond a run without [[eval]] are its own.
  CHECK(device.works() > 100);
}

TEST_CASE_FIXTURE(Gated, "[[eval]] on a device that is too small is done on the CPU, and said") {
  // Logits of a batch do not fit where the weights of two blocks do.
  write_model({.vocab = 5000, .dtype = "BF16", .head = "tied"});
  mopt::test::write_ids(path("ids.safetensors"), 40, 24, 48);
  const RunResult cpu = run_on(nullptr, "cpu");
  EmulatedDevice device;
  device.set_limit(300 << 10);
  std::string said;
  const RunResult there =
      run_on(&device, "there", [&](const std::string& line) { said += line + "\n"; });
  CHECK(said.find("the model is evaluated on the CPU") != std::string::npos);
  CHECK(there.report.eval[0].nll == cpu.report.eval[0].nll);
}

}  // namespace
}  // namespace mopt::pipeline::test
