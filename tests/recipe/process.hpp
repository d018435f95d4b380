// Runs a program with its output in memory and a time limit.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace mopt::test {

struct Command {
  std::string directory;
  std::vector<std::string> words;                  // words[0]: the program's path
  std::map<std::string, std::string> environment;  // on top of this process's
  std::string input;
  int seconds = 120;
};

struct Outcome {
  int exit = -1;  // 128 + signal when it was killed; 124 when it ran out of time
  std::string out, err;
};

Outcome execute(const Command& command);

}  // namespace mopt::test
