#include <malloc.h>

#include "host/cli/run.hpp"
#include "host/cli/signals.hpp"

// Tensors go back to the system as soon as they are freed, so that resident memory is what is in
// use: by default the C library comes to keep freed blocks of up to 32 MiB, and aligned ones
// fragment its heaps.
static void return_freed_memory() {
  constexpr int kLargeBlock = 128 << 10;
  mallopt(M_MMAP_THRESHOLD, kLargeBlock);
  mallopt(M_TRIM_THRESHOLD, kLargeBlock);
}

int main(int argc, char** argv) {
  using namespace mopt::cli;
  return_freed_memory();
  survive_failed_writes();
  const std::vector<std::string> words(argv + 1, argv + argc);
  return run(words, this_process());
}
