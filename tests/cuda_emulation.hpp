// Compiles .cu files with the C++ compiler and runs their kernels on the CPU, for tests of machines
// without a device: what a kernel computes, whether it stays in its memory (with the address
// sanitizer: shared memory too), and whether its threads agree at barriers. Not how fast it is.
//
//   mopt_emulated(my_test one_cuda.cu two_cuda.cu)      in CMake (tests/mopt_test.cmake)
//
// compiles the files into the test with MOPT_CUDA_EMULATION defined and tests/cuda_include in the
// include path, whose cuda_runtime.h is this header. Instead of kernel<<<...>>>, which is no C++,
// launches go through mopt::cuda::launch, or another function that calls emulation::launch here.
//
// A block's threads are fibers of one OS thread; blocks run one after the other, in order. So do
// kernels, whatever threads start them.
// Supported:
//   __global__ __device__ __host__ __shared__ __constant__ __launch_bounds__ __forceinline__
//   extern __shared__ T name[]; (mopt_emulated rewrites it), filled with garbage before each block
//   threadIdx blockIdx blockDim gridDim warpSize, up to three dimensions
//   __syncthreads __syncthreads_or/_and/_count __syncwarp __shfl_sync and its kin (types up to 8
//   bytes, widths too) __ballot_sync __any_sync __all_sync __reduce_max_sync and its kin (32 bits)
//   atomicAdd/Max/Min/Or/And/Exch/CAS __threadfence; __ldg __ldcs __ldcg __stcs __stcg
//   min max and the float functions of <cmath>; __fdiv_rn and its kin; bit casts; __popc __clz
//   __ffs
//   __byte_perm __funnelshift_l/r rsqrtf; dim3, uint2..4, float2..4 and their make_ functions
//   cudaMalloc cudaFree cudaMemcpy/Memset (Async or not) cudaStream_t cudaSetDevice and its like
// Not supported: inline PTX (put it under #if defined(__CUDA_ARCH__)), warp matrix instructions,
// textures, cooperative groups, dynamic parallelism, bf16 and half types of CUDA, streams other
// than null (the work is done when the call returns).
//
// Throws std::runtime_error out of the launch when threads wait for each other and never meet: at a
// barrier that not all threads of the block reach (finished ones included), at different barriers
// of the source, at a warp operation whose mask names lanes that do not come, or come to another
// one.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <source_location>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __constant__ static
// One instance serves all blocks, because only one runs at a time.
#define __shared__ static
#define __forceinline__ inline
#define __launch_bounds__(...)

struct uint2 {
  unsigned x, y;
};
struct uint3 {
  unsigned x, y, z;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct float3 {
  float x, y, z;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline uint2 make_uint2(unsigned x, unsigned y) {
  return {x, y};
}
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
  return {x, y, z, w};
}
inline float2 make_float2(float x, float y) {
  return {x, y};
}
inline float4 make_float4(float x, float y, float z, float w) {
  return {x, y, z, w};
}
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

namespace mopt::emulation {

struct Indices {
  uint3 thread, block;
  dim3 block_dim, grid_dim;
};
// Of the fiber that runs.
const Indices& indices();

// Runs `thread` for every thread of every block.
void run(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& thread);
// Kernels run so far by this process.
int64_t launches();

template <class... Params, class... Args>
void launch(void (*kernel)(Params...), int64_t blocks, int threads, int64_t shared_bytes,
            Args... args) {
  run(dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(threads)),
      static_cast<size_t>(shared_bytes), [&] { kernel(args...); });
}

// The block's dynamic shared memory.
void* dynamic_shared();

struct Votes {
  int count;    // threads that voted yes
  int threads;  // of the block
};
// A barrier of the block.
Votes barrier(bool vote, std::source_location where);

// The caller's, in its warp.
int lane();
// What lanes do together: each brings a word; who takes part gets all of them, valid until its next
// barrier or operation. Words of lanes outside the mask mean nothing.
enum class WarpOperation { kShuffle, kVote, kReduce, kSync };
struct Warp {
  uint64_t words[32];
  unsigned mask;
};
const Warp& exchange(WarpOperation, unsigned mask, uint64_t word, std::source_location where);

template <class T>
uint64_t to_word(T x) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  uint64_t word = 0;
  std::memcpy(&word, &x, sizeof(T));
  return word;
}
template <class T>
T from_word(uint64_t word) {
  T x;
  std::memcpy(&x, &word, sizeof(T));
  return x;
}

// The word of lane `source`, or the caller's own where that is outside its group of `width` lanes.
// From a lane that does not take part: throws, because hardware returns anything.
uint64_t word_of(const Warp&, int source, int width);
template <class T, class Fn>
T reduce(const Warp& warp, const Fn& fn) {
  T result{};
  bool first = true;
  for (unsigned lane = 0; lane < 32; ++lane) {
    if ((warp.mask >> lane & 1u) == 0) continue;
    const T x = from_word<T>(warp.words[lane]);
    result = first ? x : fn(result, x);
    first = false;
  }
  return result;
}

using Where = std::source_location;

}  // namespace mopt::emulation

#define threadIdx (::mopt::emulation::indices().thread)
#define blockIdx (::mopt::emulation::indices().block)
#define blockDim (::mopt::emulation::indices().block_dim)
#define gridDim (::mopt::emulation::indices().grid_dim)
inline constexpr int warpSize = 32;

// ---- barriers and warps ------------------------------------------------------------------------

inline void __syncthreads(mopt::emulation::Where where = mopt::emulation::Where::current()) {
  mopt::emulation::barrier(false, where);
}
inline int __syncthreads_or(int x,
                            mopt::emulation::Where where = mopt::emulation::Where::current()) {
  return mopt::emulation::barrier(x != 0, where).count > 0;
}
inline int __syncthreads_and(int x,
                             mopt::emulation::Where where = mopt::emulation::Where::current()) {
  const mopt::emulation::Votes votes = mopt::emulation::barrier(x != 0, where);
  return votes.count == votes.threads;
}
inline int __syncthreads_count(int x,
                               mopt::emulation::Where where = mopt::emulation::Where::current()) {
  return mopt::emulation::barrier(x != 0, where).count;
}
inline void __syncwarp(unsigned mask = 0xFFFFFFFFu,
                       mopt::emulation::Where where = mopt::emulation::Where::current()) {
  mopt::emulation::exchange(mopt::emulation::WarpOperation::kSync, mask, 0, where);
}

namespace mopt::emulation {
// `source_of(lane)`: the lane whose word the caller takes.
template <class T, class Source>
T shuffle(unsigned mask, T x, int width, Where where, const Source& source_of) {
  const Warp& warp = exchange(WarpOperation::kShuffle, mask, to_word(x), where);
  return from_word<T>(word_of(warp, source_of(lane()), width));
}
}  // namespace mopt::emulation

template <class T>
T __shfl_sync(unsigned mask, T x, int source, int width = 32,
              mopt::emulation::Where where = mopt::emulation::Where::current()) {
  return mopt::emulation::shuffle(mask, x, width, where,
                                  [=](int lane) { return lane / width * width + source % width; });
}
template <class T>
T __shfl_xor_sync(unsigned mask, T x, int bits, int width = 32,
                  mopt::emulation::Where where = mopt::emulation::Where::current()) {
  return mopt::emulation::shuffle(mask, x, width, where, [=](int lane) { return lane ^ bits; });
}
template <class T>
T __shfl_down_sync(unsigned mask, T x, unsigned delta, int width = 32,
                   mopt::emulation::Where where = mopt::emulation::Where::current()) {
  return mopt::emulation::shuffle(mask, x, width, where,
                                  [=](int lane) { return lane + static_cast<int>(delta); });
}
template <class T>
T __shfl_up_sync(unsigned mask, T x, unsigned delta, int width = 32,
                 mopt::emulation::Where where = mopt::emulation::Where::current()) {
  return mopt::emulation::shuffle(mask, x, width, where,
                                  [=](int lane) { return lane - static_cast<int>(delta); });
}
inline unsigned __ballot_sync(unsigned mask, int x,
                              mopt::emulation::Where where = mopt::emulation::Where::current()) {
  const mopt::emulation::Warp& warp =
      mopt::emulation::exchange(mopt::emulation::WarpOperation::kVote, mask, x != 0, where);
  unsigned votes = 0;
  for (unsigned lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1u) != 0 && warp.words[lane] != 0) votes |= 1u << lane;
  }
  return votes;
}
inline int __any_sync(unsigned mask, int x,
                      mopt::emulation::Where where = mopt::emulation::Where::current()) {
  return __ballot_sync(mask, x, where) != 0;
}
inline int __all_sync(unsigned mask, int x,
                      mopt::emulation::Where where = mopt::emulation::Where::current()) {
  return __ballot_sync(mask, x, where) == mask;
}

namespace mopt::emulation {
template <class T, class Fn>
T reduce_sync(unsigned mask, T x, Where where, const Fn& fn) {
  static_assert(sizeof(T) == 4 && std::is_integral_v<T>);
  return reduce<T>(exchange(WarpOperation::kReduce, mask, to_word(x), where), fn);
}
}  // namespace mopt::emulation

template <class T>
T __reduce_max_sync(unsigned mask, T x,
                    mopt::emulation::Where where = mopt::emulation::Where::current()) {
  return mopt::emulation::reduce_sync(mask, x, where, [](T a, T b) { return a > b ? a : b; });
}
template <class T>
T __reduce_min_sync(unsigned mask, T x,
                    mopt::emulation::Where where = mopt::emulation::Where::current()) {
  return mopt::emulation::reduce_sync(mask, x, where, [](T a, T b) { return a < b ? a : b; });
}
template <class T>
T __reduce_add_sync(unsigned mask, T x,
                    mopt::emulation::Where where = mopt::emulation::Where::current()) {
  return mopt::emulation::reduce_sync(mask, x, where,
                                      [](T a, T b) { return static_cast<T>(a + b); });
}

// ---- memory ------------------------------------------------------------------------------------

inline void __threadfence() {}
inline void __threadfence_block() {}
template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
T __ldcs(const T* p) {
  return *p;
}
template <class T>
T __ldcg(const T* p) {
  return *p;
}
template <class T>
void __stcs(T* p, T x) {
  *p = x;
}
template <class T>
void __stcg(T* p, T x) {
  *p = x;
}

// Fibers change only where they wait: a plain update is atomic.
template <class T>
T atomicExch(T* p, T x) {
  const T old = *p;
  *p = x;
  return old;
}
template <class T>
T atomicAdd(T* p, std::type_identity_t<T> x) {
  return atomicExch(p, static_cast<T>(*p + x));
}
template <class T>
T atomicMax(T* p, std::type_identity_t<T> x) {
  return atomicExch(p, x > *p ? x : *p);
}
template <class T>
T atomicMin(T* p, std::type_identity_t<T> x) {
  return atomicExch(p, x < *p ? x : *p);
}
template <class T>
T atomicOr(T* p, std::type_identity_t<T> x) {
  return atomicExch(p, static_cast<T>(*p | x));
}
template <class T>
T atomicAnd(T* p, std::type_identity_t<T> x) {
  return atomicExch(p, static_cast<T>(*p & x));
}
template <class T>
T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> x) {
  return atomicExch(p, *p == expected ? x : *p);
}

#include "tests/cuda_emulation_math.hpp"
#include "tests/cuda_emulation_runtime.hpp"
