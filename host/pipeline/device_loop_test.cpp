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
