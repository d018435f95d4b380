// CUDA kernels of formats with a scale per block of consecutive elements (nvfp4, mxfp, int4):
// encode, decode, and round_trip, which is both in one. For *_cuda.cu files.
//
// A thread owns a run of 16 elements, and one, two, ... neighbouring lanes share a block, so that
// memory is read once. On sm_90a bf16 costs 15 instructions per element to NVFP4, 10 to MXFP4, 6 to
// MXFP8, 12 to INT4; an H200, whose memory moves 1.6e12 elements a second to 4 bits, has slots
// for 20. Blocks that are no power of two of runs, and memory that is not aligned, take the obvious
// kernels, a block or an element a thread.
#pragma once

#include "mopt/cuda_range.hpp"

#if defined(__CUDACC__) || defined(MOPT_CUDA_EMULATION)

namespace mopt::cuda {

// The codes of a run: 4 or 8 bits each.
struct alignas(8) Nibbles {
  uint32_t at[2];
};

// A Format is a struct of plain data with
//   using Stored = ...                        the type of a block's scale in memory
//   using Codes = Nibbles or Words
//   struct Scale { Stored stored; ... }
//   void start()                              called once per thread, before the functions below
//   void publish()                            by the first thread that encodes, after start
//   Scale scale(float absmax)                 of a block
//   Codes encode_run(const Raw<T>&, const Scale&, float absmax)
//   Raw<T> round_run(const Raw<T>&, const Scale&, float absmax)       the values of those codes
//   uint8_t encode(float x, const Scale&); float decode(uint8_t)      one element
//   void decode_run(const Codes&, float (&)[16])
//   float unit(Stored)                        what decode's result is multiplied by
// `absmax` of a run is that of its block.

// The lanes of a block of elements lie in one warp. `runs`: of all blocks together.
template <class T, int kLanes, class Format>
__global__ void __launch_bounds__(kThreads)
    encode_runs(const T* x, int64_t runs, Format format, typename Format::Stored* scales,
                typename Format::Codes* codes) {
  const int64_t i = global_thread();
  const Raw<T> raw = i < runs ? load_run(x + i * kRun) : zero_run<T>();
  format.start();
  if (i == 0) format.publish();
  const float absmax = group_max(run_absmax(raw), kLanes);
  if (i >= runs) return;
  const auto scale = format.scale(absmax);
  if (threadIdx.x % kLanes == 0) scales[i / kLanes] = scale.stored;
  const auto encoded = format.encode_run(raw, scale, absmax);
  store_words<static_cast<int>(sizeof(encoded) / 4)>(encoded.at, codes + i);
}

template <class T, int kLanes, class Format>
__global__ void __launch_bounds__(kThreads)
    round_trip_runs(const T* x, int64_t runs, Format format, T* out) {
  const int64_t i = global_thread();
  const Raw<T> raw = i < runs ? load_run(x + i * kRun) : zero_run<T>();
  format.start();
  const float absmax = group_max(run_absmax(raw), kLanes);
  if (i >= runs) return;
  store_run(format.round_run(raw, format.scale(absmax), absmax), out + i * kRun);
}

// Halves of runs a thread decodes, and elements that a block of threads does.
constexpr int kHalves = 4;
constexpr int kDecoded = kThreads * kHalves * kHalf;

// Which block an element is of. Blocks of 2^n elements, as many as divide a step of the threads,
// need no division.
struct ShiftToBlock {
  int shift;
  __device__ int64_t first(int64_t at) const { return at >> shift; }
  __device__ int64_t later(int64_t, int64_t first, int halves) const {
    return first + halves * (kThreads * kHalf >> shift);
  }
};
struct DivideToBlock {
  int64_t size;
  __device__ int64_t first(int64_t at) const { return at / size; }
  __device__ int64_t later(int64_t at, int64_t, int halves) const {
    return (at + halves * (kThreads * kHalf)) / size;
  }
};

// Codes of n elements, whole runs.
template <class U, class Format, class ToBlock>
__global__ void __launch_bounds__(kThreads)
    decode_runs(const uint8_t* codes, const typename Format::Stored* scales, int64_t n,
                ToBlock to_block, Format format, U* out) {
  using Codes = typename Format::Codes;
  constexpr int kStep = kThreads * kHalf;
  constexpr int kBytes = static_cast<int>(sizeof(Codes));  // of kRun elements
  const int64_t base = int64_t{blockIdx.x} * kDecoded;
  // Elements from this thread's first on.
  const int left = static_cast<int>(n - base < kDecoded ? n - base : kDecoded) -
                   static_cast<int>(threadIdx.x) * kHalf;
  const int64_t first = base + threadIdx.x * kHalf, block = to_block.first(first);
  codes += first * kBytes / kRun;
  Codes held[kHalves / 2] = {};
  typename Format::Stored scale[kHalves] = {};
#  pragma unroll
  for (int h = 0; h < kHalves; ++h) {
    if (h * kStep >= left) continue;
    load_half(codes + h * kStep * kBytes / kRun, held[h / 2], h % 2);
    scale[h] = scales[to_block.later(first, block, h)];
  }
  format.start();
  out += first;
#  pragma unroll
  for (int r = 0; r < kHalves / 2; ++r) {
    float x[kRun];
    format.decode_run(held[r], x);
#  pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float unit = format.unit(scale[2 * r + h]);
#  pragma unroll
      for (int e = h * kHalf; e < (h + 1) * kHalf; ++e)
        x[e] = __fmul_rn(x[e], unit);
    }
    const Raw<U> values = pack<U>(x);
#  pragma unroll
    for (int h = 2 * r; h < 2 * r + 2; ++h) {
      if (h * kStep < left) store_half(values, h % 2, out + h * kStep);
    }
  }
}

// ---- the obvious kernels -----------------------------------------------------------------------

template <class T>
__device__ float block_absmax(const T* x, int64_t size) {
  float most = 0;
  for (int64_t i = 0; i < size; ++i)
    most = fmaxf(most, fabsf(to_float(x[i])));
  return most;
}

// Blocks of an even number of elements.
template <class T, class Format>
__global__ void __launch_bounds__(kThreads)
    encode_by_block(const T* x, int64_t count, int64_t size, Format format,
                    typename Format::Stored* scales, uint8_t* codes) {
  constexpr bool kNibbles = std::is_same_v<typename Format::Codes, Nibbles>;
  const int64_t block = global_thread();
  format.start();
  if (block == 0) format.publish();
  if (block >= count) return;
  x += block * size;
  codes += kNibbles ? block * size / 2 : block * size;
  const auto scale = format.scale(block_absmax(x, size));
  scales[block] = scale.stored;
  for (int64_t i = 0; i < size; i += 2) {
    const uint8_t low = format.encode(to_float(x[i]), scale);
    const uint8_t high = format.encode(to_float(x[i + 1]), scale);
    if constexpr (kNibbles) {
      codes[i / 2] = static_cast<uint8_t>(low | high << 4);
    } else {
      codes[i] = low;
      codes[i + 1] = high;
    }
  }
}

template <class T, class Format>
__global__ void __launch_bounds__(kThreads)
    round_trip_by_block(const T* x, int64_t count, int64_t size, Format format, T* out) {
  const int64_t block = global_thread();
  if (block >= count) return;
  format.start();
  x += block * size;
  out += block * size;
  const auto scale = format.scale(block_absmax(x, size));
  const float unit = format.unit(scale.stored);
  for (int64_t i = 0; i < size; ++i)
    put(__fmul_rn(format.decode(format.encode(to_float(x[i]), scale)), unit), out[i]);
}

template <class U, class Format>
__global__ void __launch_bounds__(kThreads)
    decode_by_element(const uint8_t* codes, const typename Format::Stored* scales, int64_t n,
                      int64_t size, Format format, U* out) {
  constexpr bool kNibbles = std::is_same_v<typename Format::Codes, Nibbles>;
  const int64_t i = global_thread();
  if (i >= n) return;
  format.start();
  const unsigned byte = codes[kNibbles ? i / 2 : i];
  const auto code = static_cast<uint8_t>(kNibbles ? byte >> (i % 2 * 4) & 15u : byte);
  put(__fmul_rn(format.decode(code), format.unit(scales[i / size])), out[i]);
}

// ---- host side ---------------------------------------------------------------------------------

// `count` blocks of `size` elements, which is even.
struct BlockCount {
  int64_t count, size;
  // Lanes per block of the kernels with runs; 0: only the obvious ones serve.
  int lanes() const {
    const int64_t runs = size / kRun;
    const bool fits = size % kRun == 0 && runs <= 32 && (runs & (runs - 1)) == 0;
    return fits ? static_cast<int>(runs) : 0;
  }
  int64_t runs() const { return count * (size / kRun); }
};

// kFewest and kMost: lanes of the smallest and the largest block that kernels with runs are
// compiled for.
template <class Format, int kFewest, int kMost>
class Blocks {
 public:
  using Stored = typename Format::Stored;
  using Codes = typename Format::Codes;

  static void encode(const Exec& exec, Reals x, BlockCount b, const Format& format, Stored* scales,
                     uint8_t* codes) {
    visit(x, [&]<class T>(const T* p) {
      const bool packed = aligned(p) && aligned(codes);
      if (const auto kernel = packed ? encode_kernel<T, kFewest>(b.lanes()) : nullptr) {
        launch(kernel, grid_of(std::max<int64_t>(1, b.runs())), exec, p, b.runs(), format, scales,
               reinterpret_cast<Codes*>(codes));
      } else {
        launch(encode_by_block<T, Format>, grid_of(std::max<int64_t>(1, b.count)), exec, p, b.count,
               b.size, format, scales, codes);
      }
    });
  }

  static void decode(const Exec& exec, const uint8_t* codes, const Stored* scales, BlockCount b,
                     const Format& format, RealsOut out) {
    visit(out, [&]<class U>(U* to) {
      if (b.size % kRun == 0 && aligned(codes) && aligned(to)) {
        const int64_t n = b.count * b.size;
        const Grid grid = {(n + kDecoded - 1) / kDecoded, kThreads};
        if (kThreads * kHalf % b.size == 0) {
          const ShiftToBlock to_block{std::countr_zero(static_cast<uint64_t>(b.size))};
          launch(decode_runs<U, Format, ShiftToBlock>, grid, exec, codes, scales, n, to_block,
                 format, to);
        } else {
          launch(decode_runs<U, Format, DivideToBlock>, grid, exec, codes, scales, n,
                 DivideToBlock{b.size}, format, to);
        }
      } else {
        const int64_t n = b.count * b.size;
        launch(decode_by_element<U, Format>, grid_of(n), exec, codes, scales, n, b.size, format,
               to);
      }
    });
  }

  // x and out are of the same type and may be the same memory.
  static void round_trip(const Exec& exec, Reals x, BlockCount b, const Format& format,
                         RealsOut out) {
    visit(x, [&]<class T>(const T* p) {
      T* to = own_type<T>(out);
      if (const auto kernel =
              aligned(p) && aligned(to) ? round_trip_kernel<T, kFewest>(b.lanes()) : nullptr) {
        launch(kernel, grid_of(b.runs()), exec, p, b.runs(), format, to);
      } else {
        launch(round_trip_by_block<T, Format>, grid_of(b.count), exec, p, b.count, b.size, format,
               to);
      }
    });
  }

 private:
  template <class T, int kLanes>
  static auto encode_kernel(int lanes) -> decltype(&encode_runs<T, kFewest, Format>) {
    if (lanes == kLanes) return encode_runs<T, kLanes, Format>;
    if constexpr (kLanes < kMost) return encode_kernel<T, 2 * kLanes>(lanes);
    return nullptr;
  }
  template <class T, int kLanes>
  static auto round_trip_kernel(int lanes) -> decltype(&round_trip_runs<T, kFewest, Format>) {
    if (lanes == kLanes) return round_trip_runs<T, kLanes, Format>;
    if constexpr (kLanes < kMost) return round_trip_kernel<T, 2 * kLanes>(lanes);
    return nullptr;
  }
};

}  // namespace mopt::cuda

#endif
