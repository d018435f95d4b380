// What every kernel file here shares: launching with a check, and rows of elements in vectors.
#pragma once

#include <cuda_runtime.h>

#include "host/compute/cuda/check.hpp"
#include "host/compute/cuda/device.hpp"
#include "host/compute/view.hpp"
#include "mopt/numeric/reals.hpp"

namespace mopt::compute::cuda {

struct Grid {
  int64_t blocks;
  int threads;
  int64_t shared = 0;  // dynamic shared memory, bytes
};

#if !defined(__CUDACC__)
// Work of a queue in tests (tests/emulated_device), where tests/cuda_emulation.hpp runs kernels.
void emulate(Queue& queue, std::function<void()> work);
#endif

template <class... Params, class... Args>
void launch(void (*kernel)(Params...), Grid grid, Queue& queue, Args... args) {
  if (grid.blocks == 0) return;
#if defined(__CUDACC__)
  kernel<<<static_cast<unsigned>(grid.blocks), static_cast<unsigned>(grid.threads),
           static_cast<size_t>(grid.shared), stream_of(queue)>>>(static_cast<Params>(args)...);
#else
  emulate(queue, [=] {
    mopt::emulation::launch(kernel, grid.blocks, grid.threads, grid.shared,
                            static_cast<Params>(args)...);
  });
#endif
  check(cudaGetLastError(), "a kernel cannot be started");
}

// 16 bytes of elements, moved at once where the memory is aligned to them.
template <class T>
struct alignas(16) Pack {
  static constexpr int kSize = 16 / sizeof(T);
  T at[kSize];
};

inline bool aligned(const void* p) {
  return reinterpret_cast<uintptr_t>(p) % 16 == 0;
}

// Calls fn(null T*) with the element type, one of f32, bf16 and f16.
template <class Fn>
void by_real(const View& v, Fn&& fn) {
  visit(Reals{v.data, real_type(v.dtype)}, std::forward<Fn>(fn));
}

constexpr int kThreads = 256;

inline int64_t blocks_for(int64_t n) {
  return (n + kThreads - 1) / kThreads;
}

__device__ inline int64_t global_thread() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

// Sum or maximum over the 32 lanes of a warp; the same in each, in a fixed order.
template <class T>
__device__ T warp_sum(T x) {
  for (int step = 16; step > 0; step /= 2)
    x += __shfl_xor_sync(0xFFFFFFFFu, x, step);
  return x;
}
template <class T>
__device__ T warp_max(T x) {
  for (int step = 16; step > 0; step /= 2) {
    const T other = __shfl_xor_sync(0xFFFFFFFFu, x, step);
    x = other > x ? other : x;
  }
  return x;
}

}  // namespace mopt::compute::cuda
