// How much of a device's and of the process's memory a run leaves for activations between two
// blocks.
#pragma once

#include <cstdint>
#include <optional>

#include "host/pipeline/resources.hpp"

namespace mopt::pipeline {

struct Budget {
  uint64_t device = 0, pinned = 0;  // for activations, bytes
};
// `needs`: of a run on the device, which has room for so many bytes. `limit`: --memory-limit;
// without one, half of what the machine has left: pinning takes a quarter of a second per gigabyte.
Budget activation_budget(const MemoryNeeds& needs, uint64_t room, std::optional<uint64_t> limit);
// The bytes of activations that such a run pins at most, beside needs.process.
uint64_t pinned_at_most(const MemoryNeeds& needs, uint64_t room, std::optional<uint64_t> limit);

}  // namespace mopt::pipeline
