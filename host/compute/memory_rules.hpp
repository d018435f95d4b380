// How a device gives out its memory: what the pool of the CUDA part does, and whoever predicts it.
#pragma once

#include <algorithm>
#include <cstdint>

#include "mopt/tensor.h"

namespace mopt::compute {

// Bytes throughout.
struct MemoryRules {
  DLDeviceType type;  // plugins with kernels for it encode there
  // Blocks are whole multiples of a step: those below `small` of the first, others of the second.
  int64_t small, small_step, large_step;
  int64_t huge;       // blocks from here on go back to the device, others are kept for the next
  int64_t workspace;  // that a queue's first product takes, and keeps
  int64_t host;       // resident in the process once the device's libraries have worked
};

constexpr int64_t kMebi = int64_t{1} << 20;

// Small blocks share few sizes; large ones are whole pages of the device; an embedding is huge. The
// libraries' share of the process is the measured VmHWM of runs on an H200 with CUDA 13.0, less
// what the run itself holds.
inline constexpr MemoryRules kCudaMemory{kDLCUDA,     kMebi,      512,        2 * kMebi,
                                         512 * kMebi, 64 * kMebi, 560 * kMebi};
// A device that takes what it is asked for and keeps nothing.
inline constexpr MemoryRules kExactMemory{kDLExtDev, 0, 1, 1, 0, 0, 0};

constexpr int64_t block_bytes(const MemoryRules& rules, int64_t bytes) {
  const int64_t step = bytes < rules.small ? rules.small_step : rules.large_step;
  return (std::max<int64_t>(bytes, 1) + step - 1) / step * step;
}
// A kept block serves a request for which it is at most an eighth too large.
constexpr int64_t largest_block_for(int64_t bytes) {
  return bytes + bytes / 8;
}

}  // namespace mopt::compute
