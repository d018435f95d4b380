#include "host/pipeline/device_loop.hpp"

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
  for (const compute::test::WorkMode work :
       {compute::test::WorkMode::kAtOnce, compute::test::WorkMode::kOnThread}) {
    for (const std::string tables : {kCalibrated, kWeights, kPruned, kCopied}) {
      for (const std::string dtype : {"F32", "BF16", "F16"}) {
        for (const std::string head : {"own", "tied", "stored"}) {
          CAPTURE(tables);
          CAPTURE(dtype);
          CAPTURE(head);
          write_model({.dtype = dtype, .head = head, .unknown = {"extra"}});
          compute::test::EmulatedDevice device({.work = work});
          const std::string name =
              dtype + head + std::to_string(static_cast<int>(work)) + std::to_string(tables.size());
          equal(run_on(nullptr, tables, name + "_cpu"), run_on(&device, tables, name + "_device"));
          CHECK(device.complaints() == std::vector<std::string>());
        }
      }
    }
  }
}

// Counts how often the op `range` runs.
struct Looks {
  static inline int64_t count = 0;
  static void run(const compute::RangeProblem& p, compute::Queue& queue) {
    ++count;
    compute::test::reference_kernels().range[0].run(p, queue);
  }
};

TEST_CASE_FIXTURE(OnBoth, "only what no norm and no gate makes is read once more for its range") {
  write_model({.layers = 3});
  const std::array rows{compute::DeviceKernel<compute::RangeProblem>{
      "range.counted", compute::accept_any_on_device<compute::RangeProblem>, Looks::run}};
  compute::DeviceKernels kernels = compute::test::reference_kernels();
  kernels.range = rows;
  const auto ranges = [&](const std::string& name, const std::string& forced) {
    compute::test::EmulatedDevice device({.kernels = &kernels});
    Looks::count = 0;
    const fs::path got = run_on(&device, kCalibrated, name, [&](RunRequest& request) {
      if (!forced.empty()) request.kernels.forced = {forced};
    });
    equal(run_on(nullptr, kCalibrated, name + "_cpu"), got);
    return Looks::count;
  };
  // The outputs of attention, keys and values; and of the products, when they are not gates.
  const int64_t joined = ranges("joined", "");
  CHECK(joined % 9 == 0);
  CHECK(joined > 0);
  CHECK(ranges("apart", "activation.emulated") == joined / 9 * 12);
}

TEST_CASE_FIXTURE(OnBoth,
                  "a device with little memory is given smaller batches, or the run says so") {
  write_model({.layers = 1});
  const std::string tables = std::string(kCalibrated) + "";
  const fs::path want = run_on(nullptr, tables, "cpu");
  bool refused = false, smaller = false, whole = false;
  for (int64_t kib = 40; kib <= 4096 && !whole; kib = kib * 5 / 4) {
    CAPTURE(kib);
    compute::test::EmulatedDevice device({.bytes = int64_t{8} << 20});
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
