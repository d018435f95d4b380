#include "host/pipeline/device_loop.hpp"

#include <atomic>
#include <filesystem>
#include <fstream>

#include "host/compute/kernels.hpp"
#include "host/pipeline/evaluate.hpp"
#include "host/pipeline/pipeline_test.hpp"
#include "host/pipeline/run.hpp"
#include "tests/emulated_device/emulated_device.hpp"

namespace mopt::pipeline::test {
namespace {

namespace fs = std::filesystem;
using compute::test::EmulatedDevice;
using compute::test::WorkMode;

// Static inputs, a quantized cache, a head that is quantized too.
constexpr const char* kCalibrated = R"([calibration]
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
constexpr const char* kWeights = R"([[quantize.rule]]
id = "linears"
role = ["attn.*", "mlp.*"]
weight = "int8"
)";
constexpr const char* kPruned = R"([sparsify]
use = "magnitude"
[[sparsify.rule]]
id = "linears"
role = ["mlp.*"]
)";
constexpr const char* kCopied = "";

// The kernels that an emulated device has: both sides then make the same bytes.
compute::Options reference() {
  compute::Options options;
  for (const std::string_view name : compute::all_kernels()) {
    if (name.ends_with(".reference")) options.forced.emplace_back(name);
  }
  return options;
}

std::string text_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

struct OnBoth : Fixture {
  // The last request's name; each run writes a directory of its own.
  fs::path run_on(compute::Device* device, const std::string& tables, const std::string& name,
                  const std::function<void(RunRequest&)>& change = {}) {
    Prepared job = prepared(tables + "[export]\npath = \"" + path(name).string() + "\"\n");
    RunRequest request;
    request.kernels = reference();
    request.on_device = device;
    request.threads = 2;
    if (change) change(request);
    run(job, request);
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

TEST_CASE_FIXTURE(OnBoth, "a device makes the bytes that the CPU makes") {
  for (const WorkMode work : {WorkMode::kAtOnce, WorkMode::kOnThread}) {
    for (const std::string tables : {kCalibrated, kWeights, kPruned, kCopied}) {
      for (const std::string dtype : {"F32", "BF16", "F16"}) {
        for (const std::string head : {"own", "tied", "stored"}) {
          CAPTURE(tables);
          CAPTURE(dtype);
          CAPTURE(head);
          write_model({.dtype = dtype, .head = head, .unknown = {"extra"}});
          EmulatedDevice device({.work = work});
          const std::string name =
              dtype + head + std::to_string(static_cast<int>(work)) + std::to_string(tables.size());
          equal(run_on(nullptr, tables, name + "_cpu"), run_on(&device, tables, name + "_device"));
          CHECK(device.complaints() == std::vector<std::string>());
        }
      }
    }
  }
}

TEST_CASE_FIXTURE(OnBoth,
                  "activations that cannot be read back are made again in the same batches") {
  const auto resumed = [&](const std::string& name, const auto& spoil) {
    EmulatedDevice first;
    interrupt_on(&first, kCalibrated, name, 1);
    spoil(path(name + ".partial") / "mopt/activations");
    EmulatedDevice second;
    run_on(&second, kCalibrated, name,
           [&](RunRequest& request) { request.unfinished = Unfinished::kResume; });
    return second.works();
  };
  const int64_t without = resumed("without", [](const fs::path& f) { REQUIRE(fs::remove(f)); });
  const int64_t damaged =
      resumed("damaged", [](const fs::path& f) { fs::resize_file(f, fs::file_size(f) - 1); });
  CHECK(damaged == without);
}

TEST_CASE_FIXTURE(OnBoth,
                  "a device with little memory is given smaller batches, or the run says so") {
  write_model({.layers = 1});
  const std::string tables = std::string(kCalibrated) + "";
  const fs::path want = run_on(nullptr, tables, "cpu");
  bool refused = false, smaller = false, whole = false;
  for (int64_t kib = 40; kib <= 4096 && !whole; kib = kib * 5 / 4) {
    CAPTURE(kib);
    EmulatedDevice device({.bytes = int64_t{8} << 20});
    device.set_limit(kib << 10);
    const std::string name = "kib" + std::to_string(kib);
    std::string said;
    try {
      const fs::path got = run_on(&device, tables, name, [&](RunRequest& request) {
        request.say = [&](const std::string& line) { said += line + "\n"; };
      });
      const bool halved = said.find("too little device memory") != std::string::npos;
      (halved ? smaller : whole) = true;
      equal(want, got);
    } catch (const Error& e) {
      refused = true;
      CHECK(e.code() == MOPT_OUT_OF_MEMORY);
      CHECK(std::string(e.what()).find("--device-memory-limit") != std::string::npos);
    }
  }
  CHECK(refused);
  CHECK(smaller);
  CHECK(whole);
}

}  // namespace
}  // namespace mopt::pipeline::test
