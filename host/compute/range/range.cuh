// How a kernel that makes a tensor raises the parts of its range (range.hpp) by the way.
#pragma once

#include "host/compute/cuda/launch.cuh"
#include "host/compute/range/range.hpp"

namespace mopt::compute::cuda {

// Words in the order of the magnitudes; infinity and NaN lie above all others.
__device__ inline uint32_t magnitude(float x) {
  return __float_as_uint(x) & 0x7FFFFFFFu;
}

// Raises a part by what a warp stored as T, all of whose threads come here with the largest
// magnitude of their values. Rounding keeps the order, so the largest is rounded alone. Maxima
// commute: parts do not depend on which warp comes first.
template <class T>
__device__ void raise_part(uint32_t most, uint32_t* parts) {
  most = magnitude(round_to<T>(__uint_as_float(__reduce_max_sync(0xFFFFFFFFu, most))));
  if (threadIdx.x % 32 != 0 || most == 0) return;
  atomicMax(parts + global_thread() / 32 % kRangeParts, most);
}

}  // namespace mopt::compute::cuda
