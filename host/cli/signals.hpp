// SIGINT and SIGTERM: the first is counted, so that the block in work can be finished; the second
// ends the process at once with exit code 7.
#pragma once

#include <atomic>

namespace mopt::cli {

// From here on; before, and in commands that never call it, both signals end the process.
void watch_interrupts();
// How many there were.
const std::atomic<int>& interrupts();

// Writing into a closed pipe, or beyond the size that files may have, is an error of write, not the
// end of the process.
void survive_failed_writes();

}  // namespace mopt::cli
