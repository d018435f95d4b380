// Inputs and disks that a run cannot finish on: which exit status, what is named, what is left.
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <bit>
#include <cmath>
#include <fstream>
#include <limits>

#include "tests/golden_run/checkpoint.hpp"
#include "tests/golden_run/exports.hpp"
#include "tests/golden_run/long_run.hpp"

namespace mopt::test {
namespace {

namespace fs = std::filesystem;

constexpr int kModel = 3, kResources = 6;  // exit statuses

void check_no_output(const fs::path& folder) {
  CHECK_FALSE(fs::exists(folder / "out"));
  CHECK_FALSE(fs::exists(folder / "out.partial/config.json"));
}

void set_element(const fs::path& model, const std::string& name, int64_t index, float value) {
  Tensors tensors = read_checkpoint(model);
  const auto bits = static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
  std::memcpy(tensors.at(name).bytes.data() + 2 * index, &bits, sizeof(bits));
  write_safetensors(model / "model.safetensors", tensors);
}

// A file system of its own for as long as the object lives.
class SmallDisk {
 public:
  SmallDisk(fs::path place, int64_t bytes) : place_(std::move(place)) {
    fs::create_directory(place_);
    const std::string options = "size=" + std::to_string(bytes);
    mounted_ = mount("tmpfs", place_.c_str(), "tmpfs", 0, options.c_str()) == 0;
  }
  ~SmallDisk() {
    if (mounted_) umount2(place_.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  bool mounted() const { return mounted_; }

 private:
  fs::path place_;
  bool mounted_ = false;
};

// Takes what is free of a file system.
void fill(const fs::path& file) {
  std::ofstream out(file, std::ios::binary);
  const std::string piece(4096, 'x');
  while (out.write(piece.data(), 4096).flush()) {
  }
}

}  // namespace

TEST_CASE("a weight that is not finite ends the run with its name and the element's index") {
  const GoldenModel golden = golden_llama();
  const std::string name = "model.layers.0.self_attn.v_proj.weight";
  for (const std::string recipe :
       {"fp8", "fp8_kv", "nvfp4", "int4_wo", "mxfp8", "sparse24_magnitude"}) {
    for (const float value : {std::numeric_limits<float>::quiet_NaN(), -INFINITY}) {
      CAPTURE(recipe);
      CAPTURE(value);
      const Scratch scratch;
      copy_folder(golden.source(), scratch / "bad/source");
      set_element(scratch / "bad/source", name, 3 * 128 + 5, value);
      const GoldenModel bad{(scratch / "bad").string(), golden.calibration, golden.coverage};
      const Outcome run = run_recipe(scratch, bad, recipe, "out");
      CAPTURE(run.err);
      CHECK(run.exit == kModel);
      CHECK(run.err.find(name + ": error[") != std::string::npos);
      CHECK(run.err.find("[3, 5]") != std::string::npos);
      check_no_output(scratch.path());
    }
  }
}

TEST_CASE("a file that may not grow ends with 6 and goes on when it may") {
  const LongRun job;
  for (const uint64_t limit : {uint64_t{100}, uint64_t{20000}, uint64_t{1} << 20}) {
    CAPTURE(limit);
    const fs::path folder = job.folder("limit" + std::to_string(limit));
    Start start = job.start(folder);
    start.file_limit = limit;
    const int exit = Background(start).wait();
    CAPTURE(log_of(folder));
    CHECK(exit == kResources);
    check_no_output(folder);
    CHECK(job.run(folder, {"--resume"}) == 0);
    CHECK((lasting_contents(folder / "out") == job.undisturbed()));
  }
}

TEST_CASE("a disk that is too small is refused before the run, a full one in it") {
  const LongRun job;
  const fs::path folder = job.folder("disk");
  {
    const SmallDisk disk(folder / "small", 2 << 20);
    if (!disk.mounted()) {
      MESSAGE("this process may not mount a file system: skipped");
      return;
    }
    Start start = job.start(folder, {"--set", "export.path=small/out"});
    std::erase(start.words, "--output");
    std::erase(start.words, "out");
    CHECK(Background(start).wait() == kResources);
    CHECK(log_of(folder).find("R102") != std::string::npos);
    check_no_output(folder / "small");
  }
  const fs::path place = job.folder("full");
  const SmallDisk disk(place, 24 << 20);
  REQUIRE(disk.mounted());
  Start start = job.start(place);
  start.log = folder / "full.log";
  Background run(start);
  REQUIRE(wait_for_units(run, place, 1));
  run.signal(SIGSTOP);
  fill(place / "filler");
  run.signal(SIGCONT);
  const int exit = run.wait();
  CAPTURE(read_file(start.log.string()));
  CHECK(exit == kResources);
  check_no_output(place);
  fs::remove(place / "filler");
  CHECK(job.run(place, {"--resume"}) == 0);
  CHECK((lasting_contents(place / "out") == job.undisturbed()));
}

TEST_CASE("an output that cannot be made is refused with its place") {
  const GoldenModel golden = golden_llama();
  const Scratch scratch;
  copy_folder(golden.source(), scratch / "model");
  fs::create_directories(scratch / "elsewhere");
  fs::create_directory_symlink(scratch / "model", scratch / "elsewhere/link");
  write_text(scratch / "file", "");
  fs::create_directory(scratch / "closed");
  fs::permissions(scratch / "closed", fs::perms::owner_read | fs::perms::owner_exec);
  std::vector<std::string> places = {"model/out", "model/a/b/out", "elsewhere/link/out", "file/out",
                                     "/proc/out"};
  if (geteuid() != 0) places.push_back("closed/out");  // nothing is closed to root
  for (const std::string& place : places) {
    CAPTURE(place);
    const Outcome run =
        scratch.host({"--recipe", "fp8_pc_pt", "--model", "model", "--output", place});
    CAPTURE(run.err);
    CHECK(run.exit == kResources);
    CHECK(run.err.find(fs::path(place).parent_path().filename().string()) != std::string::npos);
    CHECK(run.err.find("error[R10") != std::string::npos);
    CHECK_FALSE(fs::exists(scratch / place));
    CHECK_FALSE(fs::exists(scratch / (place + ".partial")));
  }
  CHECK((contents(scratch / "model") == contents(golden.source())));
}

}  // namespace mopt::test
