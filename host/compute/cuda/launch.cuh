// What every kernel file here shares: launching with a check, and rows of elements in vectors.
#pragma once

#include <cuda_runtime.h>

#include <type_traits>

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

// Two floats as bf16, `low` in the lower half: one instruction, where the rule in integers
// takes 15. A NaN becomes 0x7FFF, as what arithmetic makes of it does anyway.
__device__ inline uint32_t round_pair(float low, float high) {
#if defined(__CUDA_ARCH__)
  uint32_t word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
#else
  return bf16::encode(low) | static_cast<uint32_t>(bf16::encode(high)) << 16;
#endif
}
__device__ inline void split_pair(uint32_t word, float& low, float& high) {
  low = __uint_as_float(word << 16);
  high = __uint_as_float(word & 0xFFFF0000u);
}

// 16 bytes of elements, moved at once, and the elements of them. As they are they take half of the
// registers that their floats take.
template <class T>
__device__ uint4 load_words(const T* from) {
  return *reinterpret_cast<const uint4*>(from);
}
__device__ inline void unpack(uint4 words, const float*, float (&to)[4]) {
  to[0] = __uint_as_float(words.x);
  to[1] = __uint_as_float(words.y);
  to[2] = __uint_as_float(words.z);
  to[3] = __uint_as_float(words.w);
}
__device__ inline void unpack(uint4 words, const Bf16*, float (&to)[8]) {
  split_pair(words.x, to[0], to[1]);
  split_pair(words.y, to[2], to[3]);
  split_pair(words.z, to[4], to[5]);
  split_pair(words.w, to[6], to[7]);
}

// 16 bytes of elements as floats.
template <class T>
__device__ void load_pack(const T* from, float (&to)[Pack<T>::kSize]) {
  const Pack<T> pack = *reinterpret_cast<const Pack<T>*>(from);
  for (int i = 0; i < Pack<T>::kSize; ++i)
    to[i] = to_float(pack.at[i]);
}
__device__ inline void load_pack(const Bf16* from, float (&to)[8]) {
  unpack(load_words(from), from, to);
}

// Floats as put() rounds them, to 16 bytes at once.
template <class T>
__device__ void store_pack(const float (&from)[Pack<T>::kSize], T* to) {
  Pack<T> pack;
  for (int i = 0; i < Pack<T>::kSize; ++i)
    put(from[i], pack.at[i]);
  *reinterpret_cast<Pack<T>*>(to) = pack;
}
__device__ inline void store_pack(const float (&from)[8], Bf16* to) {
  uint4 words = make_uint4(round_pair(from[0], from[1]), round_pair(from[2], from[3]),
                           round_pair(from[4], from[5]), round_pair(from[6], from[7]));
  bool keep = false;
  for (const float value : from)
    keep |= value != value;
  if (keep) {  // NaNs as they come, by the rule
    const auto pair = [&](int i) {
      return bf16::encode(from[i]) | static_cast<uint32_t>(bf16::encode(from[i + 1])) << 16;
    };
    words = make_uint4(pair(0), pair(2), pair(4), pair(6));
  }
  *reinterpret_cast<uint4*>(to) = words;
}

// Each value as T holds it; N is even.
template <class T, int N>
__device__ void round_all(float (&values)[N]) {
  for (int i = 0; i < N; i += 2) {
    if constexpr (std::is_same_v<T, Bf16>) {
      split_pair(round_pair(values[i], values[i + 1]), values[i], values[i + 1]);
    } else {
      values[i] = round_to<T>(values[i]);
      values[i + 1] = round_to<T>(values[i + 1]);
    }
  }
}

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
