#include "host/cli/run.hpp"
#include "host/cli/signals.hpp"

int main(int argc, char** argv) {
  using namespace mopt::cli;
  survive_failed_writes();
  const std::vector<std::string> words(argv + 1, argv + argc);
  return run(words, this_process());
}
