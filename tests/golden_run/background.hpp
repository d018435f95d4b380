// A program that runs while the test goes on: to be stopped, signalled and killed.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace mopt::test {

struct Start {
  std::filesystem::path directory;
  std::vector<std::string> words;           // words[0]: the program's path
  std::filesystem::path log;                // takes both streams
  std::optional<uint64_t> file_limit = {};  // bytes that a file may have (RLIMIT_FSIZE)
};

class Background {
 public:
  explicit Background(const Start&);
  ~Background();  // kills what still runs
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  pid_t pid() const { return child_; }
  bool running();
  void signal(int number) const;
  // The exit status, 128 + signal when it was killed, 124 when it had to be killed after `seconds`.
  int wait(int seconds = 120);

 private:
  pid_t child_;
  std::optional<int> exit_;
};

}  // namespace mopt::test
