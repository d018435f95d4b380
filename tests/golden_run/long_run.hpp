// A calibrated run that takes about a second, on a model that the test makes: time enough to be
// interrupted. Every attempt has a folder of its own and the same command line.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tests/golden_run/background.hpp"
#include "tests/golden_run/scratch.hpp"

namespace mopt::test {

class LongRun {
 public:
  LongRun();  // runs it once without a disturbance

  // A new folder, beside the model; the output will be its `out`.
  std::filesystem::path folder(const std::string& name) const;
  Start start(const std::filesystem::path& folder, const std::vector<std::string>& more = {}) const;
  // Starts it and waits for the end; the exit status.
  int run(const std::filesystem::path& folder, const std::vector<std::string>& more = {}) const;

  std::filesystem::path model() const { return scratch_ / "model"; }
  const std::map<std::string, std::string>& undisturbed() const { return undisturbed_; }
  size_t units() const { return units_; }
  int milliseconds() const { return milliseconds_; }

 private:
  Scratch scratch_;
  std::map<std::string, std::string> undisturbed_;
  size_t units_ = 0;
  int milliseconds_ = 0;
};

// Units that the journal of an unfinished run holds.
size_t finished_units(const std::filesystem::path& folder);
// Waits until there are `count`; false when the run ended before.
bool wait_for_units(Background&, const std::filesystem::path& folder, size_t count);
// Units that the last run in this folder encoded, by its own words.
size_t encoded_units(const std::filesystem::path& folder);
std::string log_of(const std::filesystem::path& folder);

}  // namespace mopt::test
