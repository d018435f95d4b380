// What a plan will cost: memory, disk, time.
#pragma once

#include "host/plan/plan.hpp"

namespace mopt::plan {

// What a thread holds at a time of a tensor that it only passes over.
inline constexpr uint64_t kWindowBytes = uint64_t{4} << 20;
// Of a dequantized piece of a weight, per thread, kept between calls.
inline constexpr uint64_t kCacheBytes = uint64_t{512} << 10;
// Parameters from this size on are read in place and give their pages back after each call; smaller
// ones are copied: in place, each could keep a megabyte of its neighbours resident.
inline constexpr uint64_t kTableBytes = uint64_t{1} << 20;
// A buffer of activations fills whole multiples of this.
inline constexpr uint64_t kBufferAlignment = 256;
// Rows of self-written text that share the reads of the weights.
inline constexpr int64_t kSelfTextRows = 32;
// Rows of a layer's input that its output's error is measured on.
inline constexpr int64_t kSampleTokens = 64;

// Is the model to write the text that it is calibrated on?
bool writes_own_text(const Recipe&);

// Records, code and small blocks of any run, and what its verification holds in the end.
uint64_t fixed_memory(const PlanInput&, const Plan&);

// Memory and disk follow from shapes and from what the process holds when it plans; seconds from
// measured rates of an ordinary machine, to tell minutes from hours. output_bytes is left to the
// container's writer.
Cost estimate(const PlanInput&, const Plan&);

}  // namespace mopt::plan
