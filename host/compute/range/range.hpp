// range: the largest magnitude among all tensors that a device was shown, kept on the device.
#pragma once

#include <span>

#include "host/compute/dispatch.hpp"
#include "host/compute/view.hpp"

namespace mopt::compute {

// Parts of a range: threads raise different ones, so that they wait for each other less. Only the
// largest of all parts says something. Kernels that make a tensor may raise them as they write it.
inline constexpr int64_t kRangeParts = 1024;

struct RangeProblem {
  View x;           // f32, bf16 or f16
  uint32_t* parts;  // [kRangeParts] on the device, raised to the bits of max |x| as f32
};

// parts begin as zeros. Only on a device: the CPU has absmax.
void range(const RangeProblem& problem, const Options& options);

struct RangeFound {
  float absmax = 0;   // infinity or NaN when something not finite was seen
  bool seen = false;  // an element other than zero
};
// Of parts that were copied to the host.
RangeFound range_of(std::span<const uint32_t> parts);

}  // namespace mopt::compute
