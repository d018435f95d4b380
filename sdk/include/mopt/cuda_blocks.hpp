// CUDA kernels of formats with a scale per block of consecutive elements (nvfp4, mxfp, int4):
// encode, decode, and round_trip, which is both in one. For *_cuda.cu files.
//
// A thread owns a block of 16 elements, or 32 of a larger one, and one, two, ... neighbouring lanes
// share that, so that memory is read once. On sm_90a bf16 costs 15 instructions per element to
// NVFP4, 10 to MXFP4, 6 to MXFP8, 12 to INT4; an H200, whose memory moves 1.6e12 elements a second
// to 4 bits, has slots for 20. Blocks that are no power of two of runs, and memory that is not
// aligned, take the obvious kernels, a block or an element a thread.
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

// The runs that a thread owns of a block of so many runs.
constexpr int owned_runs(int64_t runs_of_block) {
  return runs_of_block > 1 ? 2 : 1;
}

template <class T>
__device__ void load_owned(const T* from, bool inside, Raw<T>* raw, int count) {
#  pragma unroll
  for (int r = 0; r < count; ++r)
    raw[r] = inside ? load_run(from + r * kRun) : zero_run<T>();
}
template <class T, int kOwned, int kLanes>
__device__ float absmax_of_block(const Raw<T> (&raw)[kOwned]) {
  float most = run_absmax(raw[0]);
#  pragma unroll
  for (int r = 1; r < kOwned; ++r)
    most = fmaxf(most, run_absmax(raw[r]));
  return group_max(most, kLanes);
}

// `threads`: kOwned runs of 16 elements each. The lanes of a block of elements lie in one warp.
template <class T, int kOwned, int kLanes, class Format>
__global__ void __launch_bounds__(kThreads)
    encode_runs(const T* x, int64_t threads, Format format, typename Format::Stored* scales,
                typename Format::Codes* codes) {
  const int64_t i = global_thread();
  Raw<T> raw[kOwned];
  load_owned(x + i * (kOwned * kRun), i < threads, raw, kOwned);
  format.start();
  if (i == 0) format.publish();
  const float absmax = absmax_of_block<T, kOwned, kLanes>(raw);
  if (i >= threads) return;
  const auto scale = format.scale(absmax);
  if (threadIdx.x % kLanes == 0) scales[i / kLanes] = scale.stored;
  constexpr int kWords = static_cast<int>(sizeof(typename Format::Codes) / 4);
  uint32_t words[kOwned * kWords];
#  pragma unroll
  for (int r = 0; r < kOwned; ++r) {
    const auto encoded = format.encode_run(raw[r], scale, absmax);
#  pragma unroll
    for (int w = 0; w < kWords; ++w)
      words[r * kWords + w] = encoded.at[w];
  }
  auto* to = reinterpret_cast<uint32_t*>(codes + i * kOwned);
  constexpr int kAtOnce = kOwned * kWords < 4 ? kOwned * kWords : 4;
#  pragma unroll
  for (int w = 0; w < kOwned * kWords; w += kAtOnce)
    store_words<kAtOnce>(words + w, to + w);
}

// A run a thread: two, whose values lie together, would write half sectors (on an H200 65 in place
// of 92 % of the copy rate).
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
  // Runs of a block for the kernels with runs; 0: only the obvious ones serve.
  int runs_of_block() const {
    const int64_t runs = size / kRun;
    const bool fits = size % kRun == 0 && runs <= 32 && (runs & (runs - 1)) == 0;
    return fits ? static_cast<int>(runs) : 0;
  }
  int64_t runs() const { return count * (size / kRun); }
  // That encode.
  int64_t threads() const { return runs() / owned_runs(size / kRun); }
};

// kFewest and kMost: runs of the smallest and the largest block that kernels with runs are compiled
// for.
template <class Format, int kFewest, int kMost>
class Blocks {
 public:
  using Stored = typename Format::Stored;
  using Codes = typename Format::Codes;

  static void encode(const Exec& exec, Reals x, BlockCount b, const Format& format, Stored* scales,
                     uint8_t* codes) {
    visit(x, [&]<class T>(const T* p) {
      const bool packed = aligned(p) && aligned(codes);
      if (const auto kernel = packed ? encode_kernel<T, kFewest>(b.runs_of_block()) : nullptr) {
        launch(kernel, grid_of(std::max<int64_t>(1, b.threads())), exec, p, b.threads(), format,
               scales, reinterpret_cast<Codes*>(codes));
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
      if (const auto kernel = aligned(p) && aligned(to)
                                  ? round_trip_kernel<T, kFewest>(b.runs_of_block())
                                  : nullptr) {
        launch(kernel, grid_of(b.runs()), exec, p, b.runs(), format, to);
      } else {
        launch(round_trip_by_block<T, Format>, grid_of(b.count), exec, p, b.count, b.size, format,
               to);
      }
    });
  }

 private:
  template <class T>
  using Encode = void (*)(const T*, int64_t, Format, Stored*, Codes*);
  template <class T>
  using RoundTrip = void (*)(const T*, int64_t, Format, T*);

  template <class T, int kRuns>
  static Encode<T> encode_kernel(int runs) {
    constexpr int kOwned = owned_runs(kRuns);
    if (runs == kRuns) return encode_runs<T, kOwned, kRuns / kOwned, Format>;
    if constexpr (kRuns < kMost) return encode_kernel<T, 2 * kRuns>(runs);
    return nullptr;
  }
  template <class T, int kRuns>
  static RoundTrip<T> round_trip_kernel(int runs) {
    if (runs == kRuns) return round_trip_runs<T, kRuns, Format>;
    if constexpr (kRuns < kMost) return round_trip_kernel<T, 2 * kRuns>(runs);
    return nullptr;
  }
};

}  // namespace mopt::cuda

#endif
