// For authors of *_cuda.cu files: launching with a check, 16 elements in vectors, the conversions
// that differ by architecture, exact quotients, reductions. mopt_add_plugin(... CUDA file.cu) gives
// such a file to nvcc; a test gives it to the C++ compiler (tests/cuda_emulation.hpp). For any
// other compilation this header is empty.
//
// A plugin's call enqueues on the exec's stream and returns: it never waits for the device, and
// takes memory from exec.alloc only, which the same stream may use again after the call.
#pragma once

#if defined(__CUDACC__) || defined(MOPT_CUDA_EMULATION)

#  include <cuda_runtime.h>

#  include <cstring>

#  include "mopt/numeric/e2m1.hpp"
#  include "mopt/numeric/e4m3.hpp"
#  include "mopt/numeric/reals.hpp"
#  include "mopt/plugin.hpp"

namespace mopt::cuda {

// ---- host side -------------------------------------------------------------------------------

// MOPT_OUT_OF_MEMORY for a lack of memory, else MOPT_DEVICE: the device is lost for this process.
inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  throw Error(
      status == cudaErrorMemoryAllocation ? MOPT_OUT_OF_MEMORY : MOPT_DEVICE,
      std::string(what) + ": " + cudaGetErrorName(status) + ", " + cudaGetErrorString(status));
}

inline cudaStream_t stream_of(const Exec& exec) {
  return static_cast<cudaStream_t>(exec.raw()->stream);
}

struct Grid {
  int64_t blocks;
  int threads;
  int64_t shared = 0;  // dynamic shared memory, bytes
};

// Threads of a block where nothing else decides.
constexpr int kThreads = 256;
// The grid for n threads.
inline Grid grid_of(int64_t n) {
  return {(n + kThreads - 1) / kThreads, kThreads};
}

template <class... Params, class... Args>
void launch(void (*kernel)(Params...), Grid grid, const Exec& exec, Args... args) {
  if (grid.blocks == 0) return;
  if (grid.blocks > 0x7FFFFFFF) {
    throw Error(MOPT_UNSUPPORTED, "a kernel of " + std::to_string(grid.blocks) +
                                      " blocks of threads exceeds what CUDA can start");
  }
  // Each copy of the runtime, and each plugin has its own, keeps a current device per thread.
  check(cudaSetDevice(exec.raw()->device.device_id), "the device cannot be used");
#  if defined(__CUDACC__)
  kernel<<<static_cast<unsigned>(grid.blocks), static_cast<unsigned>(grid.threads),
           static_cast<size_t>(grid.shared), stream_of(exec)>>>(static_cast<Params>(args)...);
#  else
  mopt::emulation::launch(kernel, grid.blocks, grid.threads, grid.shared,
                          static_cast<Params>(args)...);
#  endif
  check(cudaGetLastError(), "a kernel cannot be started");
}

// Sets `bytes` bytes of device memory to zero, in the stream's order.
inline void zero(const Exec& exec, void* to, int64_t bytes) {
  check(cudaMemsetAsync(to, 0, static_cast<size_t>(bytes), stream_of(exec)),
        "memory of the device cannot be set");
}

// Whether 16 bytes can be moved at once.
inline bool aligned(const void* p) {
  return reinterpret_cast<uintptr_t>(p) % 16 == 0;
}

// ---- indices and reductions --------------------------------------------------------------------

__device__ inline int64_t global_thread() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

// The largest of each group of `lanes` neighbouring lanes, a power of two; in all of them.
template <class T>
__device__ T group_max(T x, int lanes) {
  for (int step = lanes / 2; step > 0; step /= 2) {
    const T other = __shfl_xor_sync(0xFFFFFFFFu, x, step);
    x = other > x ? other : x;
  }
  return x;
}

// The largest x >= 0 of a block of threads, whole warps; in all of them. Once per kernel.
__device__ inline float block_max(float x) {
  __shared__ float warps[32];
  x = group_max(x, 32);
  if (blockDim.x == 32) return x;
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = x;
  __syncthreads();
  for (unsigned w = 0; w < blockDim.x / 32; ++w)
    x = fmaxf(x, warps[w]);
  return x;
}

// ---- 16 elements -------------------------------------------------------------------------------

constexpr int kRun = 16;

struct alignas(16) Words {
  uint32_t at[4];
};

// 4, 8 or 16 bytes in one access: the compiler splits those of a struct of its own as it likes.
template <int kWords>
__device__ void load_words(const void* from, uint32_t* to) {
  if constexpr (kWords == 4) {
    const uint4 words = *static_cast<const uint4*>(from);
    to[0] = words.x, to[1] = words.y, to[2] = words.z, to[3] = words.w;
  } else if constexpr (kWords == 2) {
    const uint2 words = *static_cast<const uint2*>(from);
    to[0] = words.x, to[1] = words.y;
  } else {
    static_assert(kWords == 1);
    to[0] = *static_cast<const uint32_t*>(from);
  }
}
template <int kWords>
__device__ void store_words(const uint32_t* from, void* to) {
#  if defined(__CUDA_ARCH__)
  const size_t global = __cvta_generic_to_global(to);
  if constexpr (kWords == 4) {
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(global), "r"(from[0]),
                 "r"(from[1]), "r"(from[2]), "r"(from[3])
                 : "memory");
  } else if constexpr (kWords == 2) {
    asm volatile("st.global.v2.b32 [%0], {%1, %2};" ::"l"(global), "r"(from[0]), "r"(from[1])
                 : "memory");
  } else {
    static_assert(kWords == 1);
    asm volatile("st.global.b32 [%0], %1;" ::"l"(global), "r"(from[0]) : "memory");
  }
#  else
  std::memcpy(to, from, kWords * sizeof(uint32_t));
#  endif
}

// A run of 16 elements as they lie in memory.
template <class T>
struct Raw {
  static constexpr int kWords = static_cast<int>(sizeof(T));
  Words at[sizeof(T)];
};

// `from` is aligned to 16 bytes.
template <class T>
__device__ Raw<T> load_run(const T* from) {
  Raw<T> raw;
#  pragma unroll
  for (int i = 0; i < Raw<T>::kWords; ++i)
    load_words<4>(reinterpret_cast<const Words*>(from) + i, raw.at[i].at);
  return raw;
}
template <class T>
__device__ Raw<T> zero_run() {
  Raw<T> raw;
#  pragma unroll
  for (int i = 0; i < Raw<T>::kWords; ++i)
    raw.at[i] = Words{{0, 0, 0, 0}};
  return raw;
}
template <class T>
__device__ void store_run(const Raw<T>& raw, T* to) {
#  pragma unroll
  for (int i = 0; i < Raw<T>::kWords; ++i)
    store_words<4>(raw.at[i].at, reinterpret_cast<Words*>(to) + i);
}

// A run in two halves of 8 elements that lie apart: what the lanes of a warp move at once is then
// one piece of memory, without sectors that are only half written.
constexpr int kHalf = kRun / 2;

// Puts the 8 elements at `from`, aligned to 16 bytes, into half h of the run.
template <class T>
__device__ void load_half(const T* from, Raw<T>& raw, int h) {
  constexpr int kWords = Raw<T>::kWords / 2;
#  pragma unroll
  for (int i = 0; i < kWords; ++i)
    load_words<4>(reinterpret_cast<const Words*>(from) + i, raw.at[h * kWords + i].at);
}
template <class T>
__device__ void store_half(const Raw<T>& raw, int h, T* to) {
  constexpr int kWords = Raw<T>::kWords / 2;
#  pragma unroll
  for (int i = 0; i < kWords; ++i)
    store_words<4>(raw.at[h * kWords + i].at, reinterpret_cast<Words*>(to) + i);
}

// The same for the codes of a run.
template <class Codes>
__device__ void load_half(const uint8_t* from, Codes& codes, int h) {
  constexpr int kWords = static_cast<int>(sizeof(Codes) / 8);
  load_words<kWords>(from, codes.at + h * kWords);
}
template <class Codes>
__device__ void store_half(const Codes& codes, int h, uint8_t* to) {
  constexpr int kWords = static_cast<int>(sizeof(Codes) / 8);
  store_words<kWords>(codes.at + h * kWords, to);
}

// Two binary16 of a word as float32.
__device__ inline void unpack_halves(uint32_t word, float& low, float& high) {
#  if defined(__CUDA_ARCH__)
  asm("{.reg .b16 l, h; mov.b32 {l, h}, %2; cvt.f32.f16 %0, l; cvt.f32.f16 %1, h;}"
      : "=f"(low), "=f"(high)
      : "r"(word));
#  else
  low = fp16::decode(static_cast<uint16_t>(word));
  high = fp16::decode(static_cast<uint16_t>(word >> 16));
#  endif
}

// The elements as float32.
template <class T>
__device__ void unpack(const Raw<T>& raw, float (&x)[kRun]) {
  constexpr int kPerWord = 4 / static_cast<int>(sizeof(T));
#  pragma unroll
  for (int i = 0; i < kRun / kPerWord; ++i) {
    const uint32_t word = raw.at[i / 4].at[i % 4];
    if constexpr (std::is_same_v<T, float>) {
      x[i] = std::bit_cast<float>(word);
    } else if constexpr (std::is_same_v<T, Bf16>) {
      x[2 * i] = std::bit_cast<float>(word << 16);
      x[2 * i + 1] = std::bit_cast<float>(word & 0xFFFF0000u);
    } else {
      unpack_halves(word, x[2 * i], x[2 * i + 1]);
    }
  }
}

// Two numbers rounded to T, the first in the lower half. A NaN stays one.
template <class T>
__device__ uint32_t pack_two(float low, float high) {
  static_assert(sizeof(T) == 2);
  uint32_t word;
#  if defined(__CUDA_ARCH__)
  if constexpr (std::is_same_v<T, Bf16>) {
    asm("cvt.rn.bf16x2.f32 %0, %2, %1;" : "=r"(word) : "f"(low), "f"(high));
  } else {
    asm("cvt.rn.f16x2.f32 %0, %2, %1;" : "=r"(word) : "f"(low), "f"(high));
  }
#  else
  T held[2];
  put(low, held[0]);
  put(high, held[1]);
  word = held[0].bits | static_cast<uint32_t>(held[1].bits) << 16;
#  endif
  return word;
}

// The elements rounded to T.
template <class T>
__device__ Raw<T> pack(const float (&x)[kRun]) {
  constexpr int kPerWord = 4 / static_cast<int>(sizeof(T));
  Raw<T> raw;
#  pragma unroll
  for (int i = 0; i < kRun / kPerWord; ++i) {
    if constexpr (kPerWord == 1) {
      raw.at[i / 4].at[i % 4] = std::bit_cast<uint32_t>(x[i]);
    } else {
      raw.at[i / 4].at[i % 4] = pack_two<T>(x[2 * i], x[2 * i + 1]);
    }
  }
  return raw;
}

// x as the type T holds it, two at a time.
template <class T>
__device__ void round_to_type(float (&x)[kRun]) {
  if constexpr (!std::is_same_v<T, float>) unpack(pack<T>(x), x);
}

namespace detail {

// The larger magnitude of each half of two words, its sign undefined; a NaN loses against a number.
template <class T>
__device__ uint32_t larger_magnitudes(uint32_t a, uint32_t b) {
  uint32_t most = 0;
#  if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 860
  if constexpr (std::is_same_v<T, Bf16>) {
    asm("max.xorsign.abs.bf16x2 %0, %1, %2;" : "=r"(most) : "r"(a), "r"(b));
  } else {
    asm("max.xorsign.abs.f16x2 %0, %1, %2;" : "=r"(most) : "r"(a), "r"(b));
  }
#  elif defined(__CUDA_ARCH__)
  if constexpr (std::is_same_v<T, Bf16>) {
    asm("{.reg .b32 x, y; abs.bf16x2 x, %1; abs.bf16x2 y, %2; max.bf16x2 %0, x, y;}"
        : "=r"(most)
        : "r"(a), "r"(b));
  } else {
    asm("{.reg .b32 x, y; abs.f16x2 x, %1; abs.f16x2 y, %2; max.f16x2 %0, x, y;}"
        : "=r"(most)
        : "r"(a), "r"(b));
  }
#  else
  for (int shift = 0; shift < 32; shift += 16) {
    const T pair[] = {T{static_cast<uint16_t>(a >> shift & 0x7FFFu)},
                      T{static_cast<uint16_t>(b >> shift & 0x7FFFu)}};
    const float x = to_float(pair[0]), y = to_float(pair[1]);
    const bool second = y > x || x != x;
    most |= static_cast<uint32_t>(pair[second ? 1 : 0].bits) << shift;
  }
#  endif
  return most;
}

}  // namespace detail

// max |x| of the run; a NaN does not count.
template <class T>
__device__ float run_absmax(const Raw<T>& raw) {
  if constexpr (std::is_same_v<T, float>) {
    float x[kRun], most = 0;
    unpack(raw, x);
#  pragma unroll
    for (int i = 0; i < kRun; ++i)
      most = fmaxf(most, fabsf(x[i]));
    return most;
  } else {
    uint32_t most = 0;
#  pragma unroll
    for (int i = 0; i < Raw<T>::kWords * 4; ++i)
      most = detail::larger_magnitudes<T>(most, raw.at[i / 4].at[i % 4]);
    const float low = to_float(T{static_cast<uint16_t>(most)});
    const float high = to_float(T{static_cast<uint16_t>(most >> 16)});
    return fmaxf(fmaxf(fabsf(low), 0.0f), fabsf(high));
  }
}

// ---- quotients ---------------------------------------------------------------------------------

// x / scale, correctly rounded.
struct ByDivision {
  float scale;
  __device__ float operator()(float x) const { return __fdiv_rn(x, scale); }
};

// The same by a product with the reciprocal and fused corrections; but never -0. One correction is
// enough for every x of at most 11 significant bits (bf16, f16), as a test of lanes-inl.hpp shows
// by trying them all. For a float32 the first one gives a faithful quotient, and the second, by
// Markstein's theorem (the reciprocal being rounded to nearest), the rounded one.
template <class T>
struct ByProduct {
  float scale, inverse;
  __device__ float operator()(float x) const {
    float near = __fmul_rn(x, inverse);
    if constexpr (sizeof(T) == 4) near = corrected(near, x);
    return corrected(near, x);
  }

 private:
  __device__ float corrected(float near, float x) const {
    return __fmaf_rn(__fmaf_rn(-near, scale, x), inverse, near);
  }
};

// 1 / x rounded to nearest, for |x| within 2^-100 and 2^100: what __frcp_rn does for such numbers,
// without its tests for others.
__device__ inline float reciprocal(float x) {
#  if defined(__CUDA_ARCH__)
  float near;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(near) : "f"(x));
  return __fmaf_rn(near, __fmaf_rn(-x, near, 1.0f), near);
#  else
  return __frcp_rn(x);
#  endif
}

// Calls fn with a divider by `scale` for elements of type T up to absmax. The product serves where
// no intermediate result overflows, and none that matters for a code (from 2^-10 on) underflows;
// scales up to 1 keep the quotient of a float32 from becoming zero.
template <class T, class Fn>
__device__ void with_divider(float scale, float absmax, const Fn& fn) {
  constexpr float kMost = sizeof(T) == 4 ? 1.0f : 0x1p10f;
  const float inverse = reciprocal(scale);
  if (scale >= 0x1p-80f && scale <= kMost && __fmul_rn(absmax, inverse) <= 0x1p100f) {
    fn(ByProduct<T>{scale, inverse});
  } else {
    fn(ByDivision{scale});
  }
}

// x within [low, high]; NaN stays NaN.
__device__ inline float clamp(float x, float low, float high) {
#  if defined(__CUDA_ARCH__)
  float bounded;
  asm("{.reg .f32 t; min.NaN.f32 t, %1, %3; max.NaN.f32 %0, t, %2;}"
      : "=f"(bounded)
      : "f"(x), "f"(low), "f"(high));
  return bounded;
#  else
  return x < low ? low : (x > high ? high : x);
#  endif
}

// ---- E4M3 --------------------------------------------------------------------------------------

// Codes of two numbers, the first in the low byte, as e4m3::encode but for the sign of a NaN.
__device__ inline uint32_t e4m3_two(float low, float high) {
#  if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
  uint16_t codes;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %2, %1;" : "=h"(codes) : "f"(low), "f"(high));
  return codes;
#  else
  return e4m3::encode(low) | static_cast<uint32_t>(e4m3::encode(high)) << 8;
#  endif
}
// The values of two codes.
__device__ inline void e4m3_values(uint32_t codes, float& low, float& high) {
#  if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
  uint32_t halves;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(halves) : "h"(static_cast<uint16_t>(codes)));
  unpack_halves(halves, low, high);
#  else
  low = e4m3::decode(static_cast<uint8_t>(codes));
  high = e4m3::decode(static_cast<uint8_t>(codes >> 8));
#  endif
}

// The same for a run.
__device__ inline Words e4m3_run(const float (&x)[kRun]) {
  Words codes;
#  pragma unroll
  for (int w = 0; w < 4; ++w) {
    codes.at[w] = e4m3_two(x[4 * w], x[4 * w + 1]) | e4m3_two(x[4 * w + 2], x[4 * w + 3]) << 16;
  }
  return codes;
}
__device__ inline void e4m3_run_values(const Words& codes, float (&x)[kRun]) {
#  pragma unroll
  for (int i = 0; i < kRun; i += 2)
    e4m3_values(codes.at[i / 4] >> (i % 4 * 8), x[i], x[i + 1]);
}

}  // namespace mopt::cuda

#endif
