// How much of a device's and of the process's memory a run leaves for activations between two
// blocks.
#pragma once

#include <cstdint>
#include <optional>

#include "host/compute/device.hpp"
#include "host/pipeline/prepare.hpp"
#include "host/pipeline/stream.hpp"

namespace mopt::pipeline {

// What the block loop holds apart from activations at rest, bytes.
struct LoopMemory {
  uint64_t device = 0;
  uint64_t host = 0;  // beside what the process has before the loop
};
// An upper bound, from shapes: the weights of four blocks and their copies in `dtype`, what a batch
// of so many tokens works in, what a block is encoded to.
LoopMemory loop_memory(const Prepared&, DLDataType dtype, int64_t batch_tokens);

struct Budget {
  uint64_t device = 0, pinned = 0;  // for activations, bytes
};
// `limit`: --memory-limit; without one, half of what the machine has left: pinning takes half a
// second per gigabyte.
Budget activation_budget(const LoopMemory&, const compute::MemoryUse&,
                         std::optional<uint64_t> limit);

}  // namespace mopt::pipeline
