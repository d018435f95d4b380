#include "host/pipeline/calibrate.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "host/compute/parallel.hpp"
#include "host/pipeline/pipeline_test.hpp"
#include "host/plan/cost.hpp"

namespace mopt::pipeline::test {
namespace {

constexpr const char* kStatic = R"([calibration]
data = "self"
[quantize]
algorithm = "max"
kv_cache = "fp8"
[[quantize.rule]]
id = "linears"
role = ["attn.*", "mlp.*", "lm_head"]
weight = "fp8"
input = "fp8"
)";

ForwardOptions plain_options(const Prepared& job) {
  ForwardOptions options;
  options.dtype = compute_type(*job.source);
  options.quantize_inputs = false;
  return options;
}

// Ranges by the name of the weight.
using Ranges = std::map<std::string, float>;

struct Calibration : Fixture {
  TokenRows rows{random_ids(7, 48, 1), random_ids(plan::kSampleTokens + 6, 48, 2),
                 random_ids(2, 48, 3)};
  Ranges inputs, kv;

  // Every block of the model; `check` sees what was found of each.
  void calibrate(Prepared& job,
                 const std::function<void(const Prepared&, const Calibrated&)>& check = {}) {
    inputs.clear();
    kv.clear();
    CalibrationPass pass(job, rows, plain_options(job));
    for (int block = 0; block <= job.plan.last_forward_block; ++block) {
      const Calibrated found =
          pass.solve(pass.run_block(CalibrationPass::Observe::kYes), job.calibrators);
      const auto name = [&](size_t item) { return job.plan.items.at(item).name; };
      for (const auto& [item, range] : found.input_range)
        CHECK(inputs.emplace(name(item), range).second);
      for (const auto& [item, range] : found.kv_range)
        CHECK(kv.emplace(name(item), range).second);
      if (check) check(job, found);
    }
  }
  // The diagnostic that calibrating ends with.
  std::string fault() {
    Prepared job = prepared(kStatic);
    try {
      calibrate(job);
    } catch (const Failure& f) {
      return f.diagnostics().at(0).code + " " + f.diagnostics().at(0).tensor;
    }
    return "none";
  }
  double largest_input(const std::string& value) const {
    double max = 0;
    for (const auto& row : rows)
      max = std::max(max, largest(plain.run(row).values.at(value)));
    return max;
  }
};

TEST_CASE_FIXTURE(Calibration, "a range is the largest magnitude that the plain forward sees") {
  for (const std::string dtype : {"F32", "BF16"}) {
    CAPTURE(dtype);
    write_model({.dtype = dtype});
    const double tolerance = dtype == "F32" ? 2e-5 : 3e-2;
    Prepared job = prepared(kStatic);
    calibrate(job);
    CHECK(inputs.size() == 2 * 7 + 1);
    for (const auto& [weight, range] : inputs) {
      CAPTURE(weight);
      CHECK(range == doctest::Approx(largest_input(weight)).epsilon(tolerance));
    }
    REQUIRE(kv.size() == 4);
    for (const std::string layer : {"0", "1"}) {
      for (const std::string part : {"k", "v"}) {
        CHECK(kv.at("model.layers." + layer + ".self_attn." + part + "_proj.weight") ==
              doctest::Approx(largest_input(layer + "." + part)).epsilon(tolerance));
      }
    }
  }
}

TEST_CASE_FIXTURE(Calibration, "a layer's sample is the first tokens of the first row") {
  for (const size_t first : {0u, 1u}) {
    std::swap(rows[0], rows[first]);
    const PlainRun want = plain.run(rows[0]);
    Prepared job = prepared(kStatic);
    size_t compared = 0;
    calibrate(job, [&](const Prepared& p, const Calibrated& found) {
      for (const auto& [item, sample] : found.sample) {
        const std::string& name = p.plan.items[item].name;
        CAPTURE(name);
        const auto tokens =
            std::min<int64_t>(plan::kSampleTokens, static_cast<int64_t>(rows[0].size()));
        Doubles values = want.values.at(name);
        values.resize(values.size() / rows[0].size() * static_cast<size_t>(tokens));
        CHECK((**sample).shape[0] == tokens);
        CHECK(distance(doubles(compute::view_of(sample->data<float>(), kF32, shape(**sample))),
                       values) < 2e-5);
        ++compared;
      }
    });
    CHECK(compared == 2 * 7 + 1);
  }
}

TEST_CASE_FIXTURE(Calibration, "blocks that are only passed through do not change later ranges") {
  Prepared job = prepared(kStatic);
  calibrate(job);
  CalibrationPass pass(job, rows, plain_options(job));
  for (int block = 0; block < 2; ++block)
    pass.run_block(CalibrationPass::Observe::kNo);
  const Calibrated found =
      pass.solve(pass.run_block(CalibrationPass::Observe::kYes), job.calibrators);
  for (const auto& [item, range] : found.input_range) {
    CHECK(job.plan.items[item].layer == 1);
    CHECK(range == inputs.at(job.plan.items[item].name));
  }
}

TEST_CASE_FIXTURE(Calibration, "ranges do not depend on threads nor on the order of the rows") {
  Prepared job = prepared(kStatic);
  calibrate(job);
  const Ranges want = inputs, want_kv = kv;
  std::reverse(rows.begin(), rows.end());
  for (const int threads : {1, 3}) {
    compute::Threads(threads).run([&] { calibrate(job); });
    CHECK(inputs == want);
    CHECK(kv == want_kv);
  }
}

TEST_CASE_FIXTURE(Calibration, "an activation that is no number is named where it first is seen") {
  const int64_t bad = rows[1][5];  // an id of one row only
  for (const float value : {NAN, INFINITY}) {
    write_model({.edits = {{"model.embed_tokens.weight", bad * 32 + 3, value}}});
    CHECK(fault() == "M205 model.layers.0.self_attn.q_proj:input");
  }
  // Finite until a product leaves float32.
  write_model({.edits = {{"model.layers.1.mlp.up_proj.weight", 40, 3e38f},
                         {"model.layers.1.mlp.gate_proj.weight", 40, 3e38f}}});
  CHECK(fault() == "M205 model.layers.1.mlp.down_proj:input");
}

TEST_CASE_FIXTURE(Calibration, "a site that no token reaches is an error") {
  rows.clear();
  CHECK(fault() == "M206 model.layers.0.self_attn.q_proj:input");
}

}  // namespace
}  // namespace mopt::pipeline::test
