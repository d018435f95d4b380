// For tests of whole runs: the same recipe on the CPU and on the emulated device, with kernels that
// make the same bytes.
#pragma once

#include <atomic>
#include <filesystem>
#include <fstream>

#include "host/compute/kernels.hpp"
#include "host/pipeline/pipeline_test.hpp"
#include "host/pipeline/run.hpp"
#include "tests/emulated_device/emulated_device.hpp"
#include "tests/model_files.hpp"

namespace mopt::pipeline::test {

namespace fs = std::filesystem;

// Static inputs, a quantized cache, a head that is quantized too.
inline constexpr const char* kCalibrated = R"([calibration]
data = "self"
samples = 5
seq_len = 12
[quantize]
algorithm = "max"
kv_cache = "fp8"
[[quantize.rule]]
id = "linears"
role = ["attn.*", "mlp.*", "lm_head"]
weight = "fp8"
input = "fp8"
)";
inline constexpr const char* kWeights = R"([[quantize.rule]]
id = "linears"
role = ["attn.*", "mlp.*"]
weight = "int8"
)";
inline constexpr const char* kPruned = R"([sparsify]
use = "magnitude"
[[sparsify.rule]]
id = "linears"
role = ["mlp.*"]
)";
inline constexpr const char* kCopied = "";

// The kernels that an emulated device has: both sides then make the same bytes.
inline compute::Options reference() {
  compute::Options options;
  for (const std::string_view name : compute::all_kernels()) {
    if (name.ends_with(".reference")) options.forced.emplace_back(name);
  }
  return options;
}

inline std::string text_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

struct OnBoth : Fixture {
  // `name`: of the directory that the run writes.
  fs::path run_on(compute::Device* device, const std::string& tables, const std::string& name,
                  const std::function<void(RunRequest&)>& change = {}) {
    Prepared job = prepared(tables + "[export]\npath = \"" + path(name).string() + "\"\n");
    RunRequest request;
    request.kernels = reference();
    request.on_device = device;
    request.threads = 2;
    if (change) change(request);
    report = run(job, request).report;
    return path(name);
  }
  // A run that is interrupted once so many units are done.
  void interrupt_on(compute::Device* device, const std::string& tables, const std::string& name,
                    int units, const std::function<void(RunRequest&)>& change = {}) {
    std::atomic<int> interrupts = 0, done = 0;
    Progress progress({ProgressStyle::kLog,
                       [&](std::string_view line) {
                         if (line.starts_with("block ") && ++done == units) interrupts = 1;
                       },
                       [] { return 0; }});
    try {
      run_on(device, tables, name, [&](RunRequest& request) {
        request.interrupts = &interrupts;
        request.progress = &progress;
        if (change) change(request);
      });
      FAIL("it was not interrupted");
    } catch (const Failure& f) {
      CHECK(f.diagnostics().at(0).code == "I101");
    }
  }
  // Five rows of twelve tokens, from `first` on.
  fs::path write_ids(int32_t first = 0) {
    Ids ids = random_ids(60, 48, 3);
    for (auto& id : ids)
      id += first;
    const auto* bytes = reinterpret_cast<const char*>(ids.data());
    mopt::test::write_safetensors(
        path("ids.safetensors"),
        {{"input_ids", "I32", {5, 12}, {bytes, bytes + ids.size() * sizeof(int32_t)}}});
    return path("ids.safetensors");
  }
  Report report;  // of the last run
  static void equal(const fs::path& a, const fs::path& b) {
    const auto left = read_safetensors(a / "model.safetensors");
    const auto right = read_safetensors(b / "model.safetensors");
    REQUIRE(left.size() == right.size());
    for (const auto& [name, tensor] : left) {
      CAPTURE(name);
      CHECK(tensor.dtype == right.at(name).dtype);
      CHECK(tensor.bytes == right.at(name).bytes);
    }
    CHECK(text_of(a / "config.json") == text_of(b / "config.json"));
    CHECK(text_of(a / "mopt/ledger.jsonl") == text_of(b / "mopt/ledger.jsonl"));
  }
};

}  // namespace mopt::pipeline::test
