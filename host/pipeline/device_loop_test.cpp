#include "host/pipeline/device_loop.hpp"

#include "host/pipeline/activation_budget.hpp"
#include "host/pipeline/on_both_test.hpp"
#include "host/pipeline/resources.hpp"
#include "tests/emulated_device/recording_kernels.hpp"

namespace mopt::pipeline::test {
namespace {

using compute::test::EmulatedDevice;
using compute::test::WorkMode;

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

TEST_CASE_FIXTURE(OnBoth, "an embedding that several threads read arrives whole") {
  constexpr int kVocab = 300000;  // 77 MB: the ids lie in the second part
  write_model(
      {.hidden = 128, .heads = 4, .kv_heads = 2, .vocab = kVocab, .dtype = "BF16", .head = "tied"});
  std::string tables = kCalibrated;
  tables.replace(tables.find("\"self\""), 6, '"' + write_ids(kVocab - 48).string() + '"');
  tables.replace(tables.find(", \"lm_head\""), 11, "");
  EmulatedDevice device({.work = WorkMode::kOnThread});
  equal(run_on(nullptr, tables, "cpu"), run_on(&device, tables, "device"));
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

TEST_CASE_FIXTURE(OnBoth, "every product of a block is foreseen") {
  EmulatedDevice device({.kernels = &compute::test::recording_kernels()});
  write_model({.dtype = "BF16"});
  std::string tables = kCalibrated;
  tables.replace(tables.find("\"self\""), 6, '"' + write_ids().string() + '"');
  tables.replace(tables.find(", \"lm_head\""), 11, "");
  const Prepared job = prepared(tables + "[export]\npath = \"" + path("none").string() + "\"\n");
  OnDevice on(device.make_queue("test"), services);
  ForwardOptions options;
  options.dtype = kBf16;
  options.on_device = &on;
  options.kernels.queue = &on.queue();
  const CalibrationPass pass(job, TokenRows(5, Ids(12)), options, {.tokens = 60});
  compute::test::take_recorded();
  const int64_t before = device.works();
  pass.foresee().get();
  CHECK(device.works() == before);
  const std::vector<std::string> asked = compute::test::take_recorded().asked;
  const std::set<std::string> foreseen(asked.begin(), asked.end());
  run_on(&device, tables, "out");
  const std::vector<std::string> ran = compute::test::take_recorded().run;
  const std::set<std::string> run(ran.begin(), ran.end());
  CHECK(run.size() == 5);  // attention; q and o are alike, k and v, gate and up
  for (const std::string& kernel : run) {
    CAPTURE(kernel);
    CHECK(foreseen.contains(kernel));
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
  // Batches of one row are five times the work; a unit more or less was done before.
  CHECK(damaged < 3 * without / 2);
}

// Sixteen batches of two rows, each of 3 KiB between two blocks. What the limits leave for them:
struct Tiers {
  const char* name;
  int64_t there;  // batches on the device
  bool on_disk;   // or in pinned memory
  const char* said;
};
constexpr Tiers kTiers[] = {
    {"device", 16, false, "activations: 16 of 16 batches on the device (1 MiB)\n"},
    {"device and pinned", 3, false, "3 of 16 batches on the device (1 MiB), 13 in pinned memory"},
    {"pinned", 0, false, "0 of 16 batches on the device (0 MiB), 16 in pinned memory (1 MiB)"},
    {"device and disk", 3, true, "3 of 16 batches on the device (1 MiB), 13 on disk (1 MiB)"},
    {"disk", 0, true, "0 of 16 batches on the device (0 MiB), 16 on disk (1 MiB)"},
};

struct OnTiers : OnBoth {
  static constexpr int64_t kBatch = 24;
  static constexpr uint64_t kBatchBytes = kBatch * 32 * 4;
  uint64_t planned = 0;  // bytes of activations in pinned memory
  static std::string recipe() {
    std::string tables = kCalibrated;
    return tables.replace(tables.find("samples = 5"), 11, "samples = 32");
  }
  // Sets the limits, and hears what the run decides.
  std::function<void(RunRequest&)> limits(EmulatedDevice& device, const Tiers& tiers,
                                          std::string& said) {
    Prepared job = prepared(recipe() + "[export]\npath = \"" + path("none").string() + "\"\n");
    const MemoryNeeds needs = memory_needs(job, DevicePlace{rules_of(device), 0, kBatch});
    const plan::DeviceCost& cost = *needs.device;
    constexpr auto kBytes = static_cast<int64_t>(kBatchBytes), kPassage = 5 * kBytes;
    device.set_limit(tiers.there == 16 ? static_cast<int64_t>(cost.peak)
                                       : static_cast<int64_t>(cost.without - cost.passing) +
                                             tiers.there * kBytes + kPassage);
    // What the run needs beside activations, and little more.
    const uint64_t limit = needs.process + (uint64_t{16} << 20);
    planned = pinned_at_most(needs, static_cast<uint64_t>(device.memory().room),
                             tiers.on_disk ? std::optional(limit) : std::nullopt);
    return [&said, on_disk = tiers.on_disk, limit](RunRequest& request) {
      request.batch_tokens = kBatch;
      if (on_disk) request.memory_limit = limit;
      request.say = [&said](const std::string& line) { said += line + "\n"; };
    };
  }
};

TEST_CASE_FIXTURE(OnTiers, "wherever activations rest, the bytes are those that the CPU makes") {
  write_model({.layers = 3});
  const fs::path want = run_on(nullptr, recipe(), "cpu");
  for (const WorkMode work : {WorkMode::kAtOnce, WorkMode::kOnThread}) {
    for (const Tiers& tiers : kTiers) {
      CAPTURE(tiers.name);
      EmulatedDevice device({.bytes = int64_t{8} << 20, .work = work});
      std::string said;
      const std::string name = tiers.name + std::to_string(static_cast<int>(work));
      equal(want, run_on(&device, recipe(), name, limits(device, tiers, said)));
      CAPTURE(said);
      CHECK(said.find(tiers.said) != std::string::npos);
      CHECK(said.find("too little") == std::string::npos);
      REQUIRE(report.memory.activations);
      CHECK(report.memory.activations->batch_tokens == kBatch);
      CHECK(report.memory.activations->on_device == static_cast<uint64_t>(tiers.there));
      CHECK((tiers.on_disk
                 ? report.memory.activations->on_disk
                 : report.memory.activations->pinned) == static_cast<uint64_t>(16 - tiers.there));
      const uint64_t pinned = report.memory.activations->pinned * kBatchBytes;
      CHECK(planned >= pinned);
      CHECK(planned <= (tiers.on_disk ? uint64_t{0} : pinned + kBatchBytes));
      CHECK(device.complaints() == std::vector<std::string>());
      CHECK(device.memory().in_use == 0);
      CHECK(device.pinned_bytes() == 0);
      CHECK(!fs::exists(path(name) / "mopt/activations.rest"));
    }
  }
}

TEST_CASE_FIXTURE(OnTiers, "a device that has less than was thought keeps no activations") {
  write_model({.layers = 2});
  const fs::path want = run_on(nullptr, recipe(), "cpu");
  bool moved = false;
  for (int64_t kib = 320; kib >= 32 && !moved; kib = kib * 15 / 16) {
    CAPTURE(kib);
    EmulatedDevice device({.bytes = int64_t{8} << 20});
    std::string said;
    const auto less_then = [&](RunRequest& request) {
      request.batch_tokens = kBatch;
      request.say = [&](const std::string& line) {
        if (line.starts_with("activations: 16 of 16")) device.set_limit(kib << 10);
        said += line + "\n";
      };
    };
    equal(want, run_on(&device, recipe(), std::to_string(kib), less_then));
    moved = said.find("no activations rest there now") != std::string::npos;
    CHECK((said.find("0 of 16 batches on the device") != std::string::npos) == moved);
    CHECK(said.find("batches have") == std::string::npos);
    CHECK(device.complaints() == std::vector<std::string>());
  }
  CHECK(moved);
}

TEST_CASE_FIXTURE(OnTiers, "a run goes on wherever activations rest then") {
  write_model({.layers = 3});
  const fs::path want = run_on(nullptr, recipe(), "cpu");
  std::map<std::string, std::string> saves;  // of the activations, by the block that is next
  for (size_t first = 0; first < std::size(kTiers); ++first) {
    const Tiers &before = kTiers[first], &after = kTiers[(first + 3) % std::size(kTiers)];
    CAPTURE(before.name);
    CAPTURE(after.name);
    EmulatedDevice device({.bytes = int64_t{8} << 20, .work = WorkMode::kOnThread});
    std::string said;
    interrupt_on(&device, recipe(), before.name, 2, limits(device, before, said));
    const std::string saved =
        text_of(path(std::string(before.name) + ".partial") / "mopt/activations");
    REQUIRE(saved.size() > 16);
    if (const auto [known, fresh] = saves.try_emplace(saved.substr(8, 8), saved); !fresh)
      CHECK(known->second == saved);
    EmulatedDevice other({.bytes = int64_t{8} << 20, .work = WorkMode::kOnThread});
    const auto limited = limits(other, after, said);
    equal(want, run_on(&other, recipe(), before.name, [&](RunRequest& request) {
            limited(request);
            request.unfinished = Unfinished::kResume;
          }));
    CAPTURE(said);
    CHECK(said.find(before.said) != std::string::npos);
    CHECK(said.find(after.said) != std::string::npos);
    CHECK(other.complaints() == std::vector<std::string>());
  }
}

TEST_CASE_FIXTURE(OnBoth,
                  "a device with little memory is given smaller batches, or the run says so") {
  write_model({.layers = 1});
  const std::string tables = kCalibrated;
  const fs::path want = run_on(nullptr, tables, "cpu");
  bool planned = false, smaller = false, whole = false;
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
      const bool halved = said.find("too little device memory: batches") != std::string::npos;
      (halved ? smaller : whole) = true;
      equal(want, got);
    } catch (const Error& e) {
      CHECK(e.code() == MOPT_OUT_OF_MEMORY);
      const std::string what = e.what(), before = "it takes at least ";
      const size_t at = what.find(before);
      REQUIRE(at != std::string::npos);
      CHECK(what.find(" MiB there: end what else runs on it, raise --device-memory-limit", at) !=
            std::string::npos);
      CHECK(std::stoll(what.substr(at + before.size())) >= (kib >> 10));
    } catch (const Failure& f) {  // before the run
      planned = true;
      CHECK(f.diagnostics().at(0).code == "R101");
    }
  }
  CHECK(planned);
  CHECK(smaller);
  CHECK(whole);
}

}  // namespace
}  // namespace mopt::pipeline::test
