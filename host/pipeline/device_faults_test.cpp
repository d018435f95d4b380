// A device that fails in the middle of a run.
#include "host/pipeline/device_weights.hpp"
#include "host/pipeline/on_both_test.hpp"

namespace mopt::pipeline::test {
namespace {

using compute::test::Counted;
using compute::test::EmulatedDevice;
using compute::test::WorkMode;

// Of this process: "mopt-read-0", "aside", ...
std::vector<std::string> own_threads() {
  std::vector<std::string> names;
  for (const fs::directory_entry& task : fs::directory_iterator("/proc/self/task")) {
    std::string name;
    std::getline(std::ifstream(task.path() / "comm"), name);
    if (name.starts_with("mopt-") || name == "aside") names.push_back(name);
  }
  return names;
}

struct OnFailing : OnBoth {
  // Whether the run came to its end all the same.
  bool run_until(compute::Device& device, const std::string& tables, const std::string& name) {
    try {
      run_on(&device, tables, name,
             [](RunRequest& request) { request.resume_command = "mopt-host --resume"; });
      return true;
    } catch (const Failure& f) {
      CHECK(f.exit() == Exit::kResources);
      REQUIRE(f.diagnostics().size() == 1);
      const Diagnostic& d = f.diagnostics()[0];
      CHECK(d.code == "R103");
      CHECK(
          d.message.starts_with("emulated device: the device failed: an illegal memory access; "));
      CHECK(d.message.ends_with("; what is finished is kept"));
      check_place(d.message, tables, name);
      CHECK(d.remedy.find("mopt-host --resume") != std::string::npos);
      CHECK(d.remedy.find("CUDA_LAUNCH_BLOCKING=1") != std::string::npos);
      CHECK(d.remedy.find("--device cpu") != std::string::npos);
      return false;
    }
  }
  // The block that the message names is the first one with work for the device that has none in the
  // journal; it cannot know better.
  void check_place(const std::string& message, const std::string& tables, const std::string& name) {
    CAPTURE(message);
    const fs::path file = path(name + ".partial") / "mopt/journal.jsonl";
    const std::string journal = text_of(file);
    const Prepared job = prepared(tables + "[export]\npath = \"" + path("none").string() + "\"\n");
    const auto open = [&](const plan::Unit& unit) {
      return journal.find("\"unit\":\"" + unit.name + "\"") == std::string::npos &&
             std::any_of(unit.items.begin(), unit.items.end(), [&](size_t i) {
               return job.plan.items[i].outcome == plan::Outcome::kQuantized;
             });
    };
    const auto first = std::find_if(job.plan.units.begin(), job.plan.units.end(), open);
    REQUIRE(first != job.plan.units.end());
    const std::string named = "the first block that is not finished is ";
    const size_t at = message.find(named);
    if (!fs::exists(file)) {
      CHECK(at == std::string::npos);
      CHECK(message.find("the model wrote its calibration text") != std::string::npos);
      return;
    }
    REQUIRE(at != std::string::npos);
    const std::string rest = message.substr(at + named.size());
    CHECK(rest.substr(0, rest.find_first_of(",;")) == first->name);
    noticed += message.find(", noticed at ") != std::string::npos ? 1 : 0;
  }
  int noticed = 0;  // messages that say where
  void fail_everywhere(const std::string& tables, const std::string& kind, WorkMode, Counted);
  int64_t resumed_with = 0;  // finished blocks
  void resume(compute::Device* device, const std::string& tables, const std::string& name) {
    run_on(device, tables, name, [&](RunRequest& request) {
      request.unfinished = Unfinished::kResume;
      request.say = [&](const std::string& line) {
        if (line.starts_with("resuming: ")) resumed_with = std::stoll(line.substr(10));
      };
    });
  }
};

// Fails later and later, until the run gets through.
void OnFailing::fail_everywhere(const std::string& tables, const std::string& kind, WorkMode work,
                                Counted of) {
  int64_t kept = 0, failed = 0;
  for (int64_t after = 0, ended = 0; ended == 0; after += 1 + after * 2 / 3) {
    CAPTURE(kind);
    CAPTURE(after);
    const std::string name = kind + std::to_string(after);
    EmulatedDevice device({.work = work, .fault = {of, after, "an illegal memory access"}});
    ended = run_until(device, tables, name) ? 1 : 0;
    CHECK(own_threads() == std::vector<std::string>());
    CHECK(device.complaints() == std::vector<std::string>());
    if (ended == 0) {
      ++failed;
      EmulatedDevice another({.work = work});
      resumed_with = 0;
      resume(after % 2 == 0 ? &another : nullptr, tables, name);
      kept = std::max(kept, resumed_with);
    }
    equal(path("want"), path(name));
  }
  CHECK(failed > 3);
  CHECK(kept > 0);
}

TEST_CASE_FIXTURE(OnFailing, "a device that fails ends the run; what is finished is not lost") {
  write_model({.layers = 4, .unknown = {"extra"}});
  std::string tables = kCalibrated;
  tables.replace(tables.find("self"), 4, write_ids().string());
  run_on(nullptr, tables, "want");
  fail_everywhere(tables, "kernel", WorkMode::kAtOnce, Counted::kKernel);
  CHECK(noticed > 0);
  fail_everywhere(tables, "kernel_later", WorkMode::kOnThread, Counted::kKernel);
  fail_everywhere(tables, "copy_later", WorkMode::kOnThread, Counted::kCopy);
  fail_everywhere(tables, "wait_later", WorkMode::kOnThread, Counted::kWait);
}

TEST_CASE_FIXTURE(OnFailing, "a device that fails while the model writes its text ends the run") {
  write_model({.layers = 1});
  run_on(nullptr, kCalibrated, "want");
  EmulatedDevice device({.fault = {Counted::kKernel, 99, "an illegal memory access"}});
  CHECK_FALSE(run_until(device, kCalibrated, "text"));
  resume(nullptr, kCalibrated, "text");
  equal(path("want"), path("text"));
}

TEST_CASE_FIXTURE(OnFailing, "a device that fails ends a run without data, where it only copies") {
  write_model({.layers = 4, .unknown = {"extra"}});
  run_on(nullptr, kWeights, "want");
  fail_everywhere(kWeights, "copy", WorkMode::kAtOnce, Counted::kCopy);
  fail_everywhere(kWeights, "wait", WorkMode::kAtOnce, Counted::kWait);
}

// Of four blocks with 13 tensors each, only 32 fit into the ring: the others wait for slots that a
// lost device never gives back.
TEST_CASE_FIXTURE(OnFailing, "whoever waits for a read learns that the device failed") {
  write_model({.layers = 4, .bias = "qkvo"});
  const Prepared job = prepared(kCalibrated);
  EmulatedDevice device({.work = WorkMode::kOnThread});
  OnDevice copies(device.make_queue("copies"), services);
  Timeline timeline(&device);
  DeviceWeights weights(job, copies, kF32, timeline);
  compute::test::emulated_queue(copies.queue()).submit([] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));  // until the ring is full
    throw Error(MOPT_DEVICE, "an illegal memory access");
  });
  std::vector<std::unique_ptr<LoadedStep>> steps;
  for (size_t block = 0; block < graph().blocks.size(); ++block)
    steps.push_back(weights.load({static_cast<int>(block)}));
  CHECK_THROWS_WITH_AS(steps.back()->wait(), "the device failed: an illegal memory access", Error);
}

}  // namespace
}  // namespace mopt::pipeline::test
