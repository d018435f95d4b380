#include "host/pipeline/device_loop.hpp"

#include "host/pipeline/on_both_test.hpp"

namespace mopt::pipeline::test {
namespace {

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
