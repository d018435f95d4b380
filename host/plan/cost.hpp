// What a plan will cost: memory, disk, time.
#pragma once

#include "host/plan/plan.hpp"

namespace mopt::plan {

// Of the run itself, whatever the plan: code, threads, kernels' own buffers. Measured as VmHWM of
// runs over tiny models.
inline constexpr uint64_t kBaseMemory = uint64_t{64} << 20;
// What a thread holds at a time of a tensor that it only passes over.
inline constexpr uint64_t kWindowBytes = uint64_t{4} << 20;

// Memory and disk follow from shapes; seconds from measured rates of an ordinary machine, to tell
// minutes from hours. output_bytes is left to the container's writer.
Cost estimate(const PlanInput&, const Plan&);

}  // namespace mopt::plan
