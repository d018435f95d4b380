// Resident memory of this process.
#pragma once

#include <cstdint>

namespace mopt::compute {

// VmRSS and VmHWM of /proc/self/status, bytes; 0 where there is no such file.
uint64_t resident_bytes();
uint64_t peak_resident_bytes();

// What this process may come to hold without swapping, bytes: its own and MemAvailable of
// /proc/meminfo, and not above memory.max of its control group. 0 where none of it is said.
uint64_t available_bytes();

}  // namespace mopt::compute
