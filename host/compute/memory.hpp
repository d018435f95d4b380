// Resident memory of this process.
#pragma once

#include <cstdint>

namespace mopt::compute {

// VmRSS and VmHWM of /proc/self/status, bytes; 0 where there is no such file.
uint64_t resident_bytes();
uint64_t peak_resident_bytes();

// MemAvailable of /proc/meminfo, bytes: what programs may still take without swapping; 0 where it
// is not said.
uint64_t available_bytes();

}  // namespace mopt::compute
