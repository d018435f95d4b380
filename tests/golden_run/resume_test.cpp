// Kills, signals and second writers: the output is that of an undisturbed run, or there is none.
#include <doctest/doctest.h>
#include <signal.h>

#include <random>
#include <thread>

#include "tests/golden_run/checkpoint.hpp"
#include "tests/golden_run/long_run.hpp"

namespace mopt::test {
namespace {

namespace fs = std::filesystem;

constexpr int kRecipe = 2, kResources = 6, kInterrupted = 7;  // exit statuses

const LongRun& long_run() {
  static const LongRun run;
  return run;
}

// An engine needs config.json and a weight file under a loadable name.
void check_nothing_loadable(const fs::path& folder) {
  CHECK_FALSE(fs::exists(folder / "out"));
  CHECK_FALSE(fs::exists(folder / "out.partial/config.json"));
}

void check_complete(const fs::path& folder) {
  const auto& expected = long_run().undisturbed();
  const auto found = lasting_contents(folder / "out");
  CHECK(found.size() == expected.size());
  for (const auto& [name, content] : expected) {
    CAPTURE(name);
    const auto at = found.find(name);
    REQUIRE(at != found.end());
    CHECK((at->second == content));  // not printed: megabytes
  }
  CHECK_FALSE(fs::exists(folder / "out.partial"));
}

// The report is the last thing that is written; after it the journal goes.
bool all_encoded(const fs::path& folder) {
  return fs::exists(folder / "out") || fs::exists(folder / "out.partial/mopt/report.json") ||
         finished_units(folder) == long_run().units();
}

// Resumes; no unit of the journal may be encoded again.
void check_resume(const fs::path& folder) {
  const bool complete = fs::exists(folder / "out");
  const size_t before = complete ? long_run().units() : finished_units(folder);
  const int exit = long_run().run(folder, {"--resume"});
  CAPTURE(log_of(folder));
  REQUIRE(exit == 0);
  if (fs::exists(folder / "out/mopt/journal.jsonl")) FAIL("the journal stayed");
  // Without a journal: killed before it began, or after it was of use.
  if (before > 0) CHECK(encoded_units(folder) == long_run().units() - before);
  check_complete(folder);
}

}  // namespace

TEST_CASE("a run killed after 1, 2, 3 blocks resumes to the same bytes") {
  for (size_t units = 1; units <= 3; ++units) {
    CAPTURE(units);
    const fs::path folder = long_run().folder("after" + std::to_string(units));
    Background run(long_run().start(folder));
    REQUIRE(wait_for_units(run, folder, units));
    run.signal(SIGKILL);
    CHECK(run.wait() == 128 + SIGKILL);
    CHECK(finished_units(folder) < long_run().units());
    check_nothing_loadable(folder);
    check_resume(folder);
  }
}

TEST_CASE("a run killed at any moment resumes to the same bytes, also when killed twice") {
  std::mt19937 random(20240229);
  std::uniform_int_distribution<int> moment(0, long_run().milliseconds());
  for (int i = 0; i < 4; ++i) {
    const fs::path folder = long_run().folder("moment" + std::to_string(i));
    for (const char* option : {"--restart", "--resume"}) {
      const int milliseconds = moment(random);
      MESSAGE("killed after " << milliseconds << " of " << long_run().milliseconds() << " ms");
      Background run(long_run().start(folder, {option}));
      std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
      run.signal(SIGKILL);
      run.wait();
      if (!all_encoded(folder)) check_nothing_loadable(folder);
    }
    check_resume(folder);
  }
}

TEST_CASE("a run killed between its last block and the end resumes to the same bytes") {
  // The end is verification, reports and the rename: a few milliseconds, tried one after the other.
  for (int delay = 0; delay < 24; delay += 3) {
    CAPTURE(delay);
    const fs::path folder = long_run().folder("late" + std::to_string(delay));
    Background run(long_run().start(folder));
    wait_for_units(run, folder, long_run().units());
    std::this_thread::sleep_for(std::chrono::milliseconds(delay));
    run.signal(SIGKILL);
    run.wait();
    check_resume(folder);
  }
}

TEST_CASE("a second process on the same output is refused with the first one's id") {
  const fs::path folder = long_run().folder("second");
  Background first(long_run().start(folder));
  REQUIRE(wait_for_units(first, folder, 1));
  first.signal(SIGSTOP);
  for (const std::vector<std::string>& more :
       std::vector<std::vector<std::string>>{{}, {"--resume"}, {"--restart"}, {"--overwrite"}}) {
    Start start = long_run().start(folder, more);
    start.log = folder / "second.log";
    CHECK(Background(start).wait() == kResources);
    const std::string log = read_file(start.log.string());
    CAPTURE(log);
    CHECK(log.find("R104") != std::string::npos);
    CHECK(log.find("process " + std::to_string(first.pid()) + " ") != std::string::npos);
  }
  first.signal(SIGCONT);
  CHECK(first.wait() == 0);
  check_complete(folder);
}

TEST_CASE("an interrupt ends with 7 and prints the command that goes on") {
  for (const auto& [number, option] : {std::pair{SIGINT, "--restart"}, {SIGTERM, "--resume"}}) {
    CAPTURE(number);
    const fs::path folder = long_run().folder("signal" + std::to_string(number));
    Background run(long_run().start(folder, {option}));
    REQUIRE(wait_for_units(run, folder, 2));
    run.signal(number);
    CHECK(run.wait() == kInterrupted);
    check_nothing_loadable(folder);
    const std::string log = log_of(folder), words = "continue with: mopt-host ";
    CAPTURE(log);
    const size_t at = log.find(words);
    REQUIRE(at != std::string::npos);
    const size_t begin = at + words.size();
    const std::string arguments = log.substr(begin, log.find('\n', begin) - begin);
    const size_t before = finished_units(folder);
    Start again{
        folder, {"/bin/sh", "-c", "exec \"$0\" " + arguments, host_program()}, folder / "log", {}};
    CHECK(Background(again).wait() == 0);
    CHECK(encoded_units(folder) == long_run().units() - before);
    check_complete(folder);
  }
}

TEST_CASE("a second interrupt ends the run at once, and the journal still holds") {
  const fs::path folder = long_run().folder("twice");
  Background run(long_run().start(folder));
  REQUIRE(wait_for_units(run, folder, 1));
  run.signal(SIGSTOP);
  run.signal(SIGINT);
  run.signal(SIGTERM);
  run.signal(SIGCONT);
  CHECK(run.wait() == kInterrupted);
  check_nothing_loadable(folder);
  check_resume(folder);
}

TEST_CASE("an unfinished run is neither continued nor replaced unless told so") {
  const fs::path folder = long_run().folder("unfinished");
  Background run(long_run().start(folder));
  REQUIRE(wait_for_units(run, folder, 2));
  run.signal(SIGKILL);
  run.wait();
  const auto before = contents(folder / "out.partial");
  CHECK(long_run().run(folder) == kResources);
  CHECK(log_of(folder).find("R107") != std::string::npos);
  CHECK((contents(folder / "out.partial") == before));
  CHECK(long_run().run(folder, {"--restart"}) == 0);
  CHECK(encoded_units(folder) == long_run().units());
  check_complete(folder);
}

TEST_CASE("a resume refuses with the names of what changed, and goes on when it is back") {
  const fs::path folder = long_run().folder("changed");
  Background run(long_run().start(folder));
  REQUIRE(wait_for_units(run, folder, 2));
  run.signal(SIGKILL);
  run.wait();
  const auto refused = [&](const std::vector<std::string>& more, const std::string& name) {
    CHECK(long_run().run(folder, more) == kRecipe);
    const std::string log = log_of(folder);
    CAPTURE(log);
    CHECK(log.find("J101") != std::string::npos);
    CHECK(log.find(name) != std::string::npos);
  };
  refused({"--resume", "--set", "export.shard_gb=3.0"}, "the recipe");
  const fs::path weights = long_run().model() / "model.safetensors";
  const std::string content = read_file(weights.string());
  std::string other = content;
  other.back() = static_cast<char>(other.back() ^ 1);
  write_text(weights, other);
  refused({"--resume"}, "model.safetensors");
  write_text(weights, content);
  check_resume(folder);
}

}  // namespace mopt::test
