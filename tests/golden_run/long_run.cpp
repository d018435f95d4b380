#include "tests/golden_run/long_run.hpp"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "tests/golden_run/checkpoint.hpp"

namespace mopt::test {

namespace fs = std::filesystem;

LongRun::LongRun() {
  write_llama(scratch_ / "model", kSmallLlama);
  write_ids(scratch_ / "ids.safetensors", 16, 256, kSmallLlama.vocab);
  const fs::path whole = folder("whole");
  const auto begin = std::chrono::steady_clock::now();
  if (run(whole) != 0) throw std::runtime_error("the undisturbed run failed: " + log_of(whole));
  const auto time = std::chrono::steady_clock::now() - begin;
  milliseconds_ =
      static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(time).count());
  undisturbed_ = lasting_contents(whole / "out");
  units_ = encoded_units(whole);
}

fs::path LongRun::folder(const std::string& name) const {
  fs::create_directory(scratch_ / name);
  return scratch_ / name;
}

Start LongRun::start(const fs::path& folder, const std::vector<std::string>& more) const {
  Start start{folder,
              {host_program(), "--recipe", "fp8_kv", "--model", "../model", "--output", "out",
               "--set", "calibration.data=../ids.safetensors", "--set", "calibration.samples=16",
               "--set", "calibration.seq_len=256"},
              folder / "log",
              {}};
  start.words.insert(start.words.end(), more.begin(), more.end());
  return start;
}

int LongRun::run(const fs::path& folder, const std::vector<std::string>& more) const {
  return Background(start(folder, more)).wait();
}

size_t finished_units(const fs::path& folder) {
  std::ifstream in(folder / "out.partial/mopt/journal.jsonl", std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  const auto lines = static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
  return lines == 0 ? 0 : lines - 1;  // the first tells what the run was started with
}

bool wait_for_units(Background& run, const fs::path& folder, size_t count) {
  while (finished_units(folder) < count) {
    if (!run.running()) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

size_t encoded_units(const fs::path& folder) {
  std::istringstream log(log_of(folder));
  size_t count = 0;
  for (std::string line; std::getline(log, line);)
    count += line.starts_with("block ") ? 1 : 0;
  return count;
}

std::string log_of(const fs::path& folder) {
  return read_file((folder / "log").string());
}

}  // namespace mopt::test
