// CUDA kernels of formats with codes of one byte and a float32 scale that a tensor, a row or a tile
// shares (fp8, int8): encode, decode, and round_trip, which is both in one. For *_cuda.cu files.
//
// A thread moves runs of 16 elements, in two halves, and keeps them in registers between finding
// the range and encoding, so that memory is read once. On sm_90a bf16 to FP8 costs 11 to 14
// instructions per element (INT8: 17), and an H200, whose memory moves 1.4e12 such elements a
// second, has slots for 24: memory is the limit as long as more than two thirds of the slots are
// used. Matrices whose rows are no whole runs, or that are not aligned, take the obvious kernels,
// element by element.
#pragma once

#include "mopt/cuda_range.hpp"

#if defined(__CUDACC__) || defined(MOPT_CUDA_EMULATION)

namespace mopt::cuda {

// A Codec has kMax, for one element
//   uint8_t encode(float quotient); float decode(uint8_t); float round(float quotient)
// where the last one is the value of the first's code, and for 16 at once
//   Words encode_run(const float (&)[16]); void decode_run(Words, float (&)[16]);
//   void round_run(float (&)[16]);
// Quotients carry the sign of their element, zeros too.

// Where the halves of a thread's run are, counted in elements; -1: nowhere.
struct Halves {
  int64_t at[2];
};
// Of a run that lies together, and begins at a multiple of 16.
struct Whole {
  int64_t at;
};

template <class Codes>
__device__ void store_codes(const Codes& encoded, uint8_t* codes, Halves places) {
#  pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (places.at[h] >= 0) store_half(encoded, h, codes + places.at[h]);
  }
}
__device__ inline void store_codes(const Words& encoded, uint8_t* codes, Whole place) {
  if (place.at >= 0) store_words<4>(encoded.at, codes + place.at);
}
template <class T>
__device__ void store_values(const Raw<T>& values, T* out, Halves places) {
#  pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (places.at[h] >= 0) store_half(values, h, out + places.at[h]);
  }
}
template <class T>
__device__ void store_values(const Raw<T>& values, T* out, Whole place) {
  if (place.at >= 0) store_run(values, out + place.at);
}
template <class T>
__device__ void load_values(const T* x, Halves places, Raw<T>& raw) {
#  pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (places.at[h] >= 0) load_half(x + places.at[h], raw, h);
  }
}
template <class T>
__device__ void load_values(const T* x, Whole place, Raw<T>& raw) {
  if (place.at >= 0) raw = load_run(x + place.at);
}

// What becomes of elements: their codes, the quotient rounded to the source's type first or not.
template <class T, class Codec, bool kSourceType>
struct ToCodes {
  uint8_t* codes;
  template <class Divide, class Places>
  __device__ void run(const Raw<T>& raw, const Divide& divide, float, Places places) const {
    float x[kRun], q[kRun];
    unpack(raw, x);
#  pragma unroll
    for (int i = 0; i < kRun; ++i)
      q[i] = copysignf(divide(x[i]), x[i]);
    if constexpr (kSourceType) round_to_type<T>(q);
    store_codes(Codec::encode_run(q), codes, places);
  }
  __device__ void one(T x, float scale, int64_t at) const {
    const float q = __fdiv_rn(to_float(x), scale);
    codes[at] = Codec::encode(kSourceType ? round_to<T>(q) : q);
  }
  bool packed() const { return aligned(codes); }
};
// Or the values of their codes.
template <class T, class Codec>
struct ToValues {
  T* out;
  template <class Divide, class Places>
  __device__ void run(const Raw<T>& raw, const Divide& divide, float scale, Places places) const {
    float x[kRun];
    unpack(raw, x);
#  pragma unroll
    for (int i = 0; i < kRun; ++i)
      x[i] = copysignf(divide(x[i]), x[i]);
    Codec::round_run(x);
#  pragma unroll
    for (int i = 0; i < kRun; ++i)
      x[i] = __fmul_rn(x[i], scale);
    store_values(pack<T>(x), out, places);
  }
  __device__ void one(T x, float scale, int64_t at) const {
    put(__fmul_rn(Codec::round(__fdiv_rn(to_float(x), scale)), scale), out[at]);
  }
  bool packed() const { return aligned(out); }
};

// ---- one scale for all -------------------------------------------------------------------------

// A thread takes 16 elements. `packed`: halves of runs are aligned. `scale_out`: null, or [] for
// the scale.
template <class T, class Emit>
__global__ void __launch_bounds__(kThreads)
    map_runs(const T* x, int64_t n, int packed, SharedScale shared, float* scale_out, Emit emit) {
  const int64_t first = int64_t{blockIdx.x} * (kThreads * kRun) + threadIdx.x * kHalf;
  Raw<T> raw = zero_run<T>();
  Halves places = {{-1, -1}};
#  pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int64_t at = first + h * (kThreads * kHalf);
    if (packed == 0 || at + kHalf > n) continue;
    load_half(x + at, raw, h);
    places.at[h] = at;
  }
  const float scale = shared.get();
  if (first == 0 && scale_out != nullptr) *scale_out = scale;
  if (places.at[0] >= 0) {
    with_divider<T>(scale, run_absmax(raw),
                    [&](const auto& divide) { emit.run(raw, divide, scale, places); });
  }
  for (int h = 0; h < 2; ++h) {
    const int64_t at = first + h * (kThreads * kHalf);
    for (int64_t i = at; places.at[h] < 0 && i < n && i < at + kHalf; ++i)
      emit.one(x[i], scale, i);
  }
}

// ---- a scale per group of a matrix -------------------------------------------------------------

// Each kind of groups says where a thread's runs of one group are (`Runs`, made once by a block of
// threads: a division for every run would cost more than the codes do), and where each element is.

// Rows of a matrix. A warp moves 32 halves of runs that lie together.
struct RowGroups {
  static constexpr int kMostThreads = 512, kBlocksOfSm = 1;
  int64_t rows, cols;
  int64_t count() const { return rows; }
  int64_t runs() const { return cols / kRun; }
  struct Runs {
    int64_t first;
    unsigned halves;
    __device__ Halves run(int r) const {
      Halves places;
#  pragma unroll
      for (int h = 0; h < 2; ++h) {
        const unsigned half = static_cast<unsigned>(2 * r + h) * blockDim.x + threadIdx.x;
        places.at[h] = half < halves ? first + half * kHalf : -1;
      }
      return places;
    }
  };
  __device__ Runs runs_of(unsigned group) const {
    return {group * cols, static_cast<unsigned>(cols / kHalf)};
  }
  __device__ int64_t elements() const { return cols; }
  __device__ int64_t element_at(unsigned group, int64_t i) const { return group * cols + i; }
};
// Tiles of kTile x kTile, those at the edges cut. A row of a tile is 256 bytes of bf16: a thread
// moves whole runs, and a multiprocessor holds four tiles, so that others load while a maximum is
// found.
struct TileGroups {
  static constexpr int kTile = 128, kMostThreads = 256, kBlocksOfSm = 4;
  int64_t rows, cols;
  unsigned across;  // tiles of a row
  int64_t count() const { return (rows + kTile - 1) / kTile * across; }
  int64_t runs() const { return kTile * kTile / kRun; }
  struct Runs {
    int64_t first, cols;  // of this thread's first run; of the matrix
    int rows;             // of the tile, from that run on; none where the tile is cut before it
    __device__ Whole run(int r) const {
      constexpr int kStep = kMostThreads / (kTile / kRun);  // rows from run to run
      return {r * kStep < rows ? first + r * kStep * cols : -1};
    }
  };
  // For blocks of kMostThreads.
  __device__ Runs runs_of(unsigned group) const {
    const Corner corner = corner_of(group);
    const int row = static_cast<int>(threadIdx.x) / (kTile / kRun);
    const int col = static_cast<int>(threadIdx.x) % (kTile / kRun) * kRun;
    const int64_t below = rows - corner.row < kTile ? rows - corner.row : kTile;
    const bool cut = corner.col + col >= cols;
    return {(corner.row + row) * cols + corner.col + col, cols,
            cut ? 0 : static_cast<int>(below) - row};
  }
  __device__ int64_t elements() const { return kTile * kTile; }
  __device__ int64_t element_at(unsigned group, int64_t i) const {
    const Corner corner = corner_of(group);
    const int64_t r = corner.row + i / kTile, c = corner.col + i % kTile;
    return r < rows && c < cols ? r * cols + c : -1;
  }

 private:
  struct Corner {
    int64_t row, col;
  };
  __device__ Corner corner_of(unsigned group) const {
    return {int64_t{group / across} * kTile, int64_t{group % across} * kTile};
  }
};

// One block of threads a group, kRuns runs a thread, which stay in registers. `scales`: null, or
// one per group.
template <class T, int kRuns, class Groups, class Emit>
__global__ void __launch_bounds__(Groups::kMostThreads, sizeof(T) == 2 ? Groups::kBlocksOfSm : 1)
    map_groups(const T* x, Groups groups, ScaleRule rule, float* scales, Emit emit) {
  const auto runs = groups.runs_of(blockIdx.x);
  Raw<T> held[kRuns];
  float most = 0;
#  pragma unroll
  for (int r = 0; r < kRuns; ++r) {
    held[r] = zero_run<T>();
    load_values(x, runs.run(r), held[r]);
  }
#  pragma unroll
  for (int r = 0; r < kRuns; ++r)
    most = fmaxf(most, run_absmax(held[r]));
  most = block_max(most);
  const float scale = rule(most);
  if (threadIdx.x == 0 && scales != nullptr) scales[blockIdx.x] = scale;
  with_divider<T>(scale, most, [&](const auto& divide) {
#  pragma unroll
    for (int r = 0; r < kRuns; ++r)
      emit.run(held[r], divide, scale, runs.run(r));
  });
}

// The obvious kernel: memory is read twice, the second time from the cache.
template <class T, class Groups, class Emit>
__global__ void __launch_bounds__(kThreads)
    map_groups_by_element(const T* x, Groups groups, ScaleRule rule, float* scales, Emit emit) {
  float most = 0;
  for (int64_t i = threadIdx.x; i < groups.elements(); i += kThreads) {
    const int64_t at = groups.element_at(blockIdx.x, i);
    if (at >= 0) most = fmaxf(most, fabsf(to_float(x[at])));
  }
  const float scale = rule(block_max(most));
  if (threadIdx.x == 0 && scales != nullptr) scales[blockIdx.x] = scale;
  for (int64_t i = threadIdx.x; i < groups.elements(); i += kThreads) {
    const int64_t at = groups.element_at(blockIdx.x, i);
    if (at >= 0) emit.one(x[at], scale, at);
  }
}

// ---- decoding ----------------------------------------------------------------------------------

// Which scale an element of row r and column c has: scales[(r >> row_shift) * stride + (c >>
// col_shift)].
struct ScaleGrid {
  static constexpr int kAll = 62;
  int row_shift, col_shift;
  int64_t stride;
  static ScaleGrid one() { return {kAll, kAll, 0}; }
  static ScaleGrid per_row() { return {0, kAll, 1}; }
  static ScaleGrid per_tile(int64_t across) { return {7, 7, across}; }
};

// Halves of runs that a thread decodes.
constexpr int kHalvesOfRow = 4;

// A thread takes 32 elements of a row in four pieces, or one. A row is `pieces` blocks of threads.
template <class U, class Codec, bool kPacked>
__global__ void __launch_bounds__(kThreads)
    decode_rows(const uint8_t* codes, const float* scales, ScaleGrid grid, int64_t cols,
                unsigned pieces, U* out) {
  const unsigned row = pieces == 1 ? blockIdx.x : blockIdx.x / pieces;
  const int64_t piece = blockIdx.x - row * pieces;
  scales += (int64_t{row} >> grid.row_shift) * grid.stride;
  codes += row * cols;
  out += row * cols;
  if constexpr (kPacked) {
    const int step = static_cast<int>(blockDim.x) * kHalf;
    const int64_t base = piece * kHalvesOfRow * step;
    // Elements from this thread's first on.
    const int left =
        static_cast<int>(cols - base < kHalvesOfRow * step ? cols - base : kHalvesOfRow * step) -
        static_cast<int>(threadIdx.x) * kHalf;
    const int64_t first = base + threadIdx.x * kHalf;
    Words held[kHalvesOfRow / 2] = {};
    float scale[kHalvesOfRow] = {};
#  pragma unroll
    for (int h = 0; h < kHalvesOfRow; ++h) {
      if (h * step >= left) continue;
      load_half(codes + first + h * step, held[h / 2], h % 2);
      scale[h] = scales[first + h * step >> grid.col_shift];
    }
    out += first;
#  pragma unroll
    for (int r = 0; r < kHalvesOfRow / 2; ++r) {
      float x[kRun];
      Codec::decode_run(held[r], x);
#  pragma unroll
      for (int i = 0; i < kRun; ++i)
        x[i] = __fmul_rn(x[i], scale[2 * r + i / kHalf]);
      const Raw<U> values = pack<U>(x);
#  pragma unroll
      for (int h = 2 * r; h < 2 * r + 2; ++h) {
        if (h * step < left) store_half(values, h % 2, out + h * step);
      }
    }
  } else {
    const int64_t col = piece * blockDim.x + threadIdx.x;
    if (col >= cols) return;
    put(__fmul_rn(Codec::decode(codes[col]), scales[col >> grid.col_shift]), out[col]);
  }
}

// ---- host side ---------------------------------------------------------------------------------

template <class Codec>
class Runs {
 public:
  struct Matrix {
    Reals x;
    int64_t rows, cols;
  };

  // All with one scale, which is also written to scale_out.
  template <bool kSourceType>
  static void encode(const Exec& exec, Reals x, int64_t n, float scale, float* scale_out,
                     uint8_t* codes) {
    visit(x, [&]<class T>(const T* p) {
      map(exec, p, n, SharedScale::known(scale), scale_out, ToCodes<T, Codec, kSourceType>{codes});
    });
  }
  // With bounded scales, one per row or tile, to `scales`.
  static void encode_rows(const Exec& exec, const Matrix& m, float* scales, uint8_t* codes) {
    encode_groups(exec, m.x, RowGroups{m.rows, m.cols}, bounded(m), scales, codes);
  }
  static void encode_tiles(const Exec& exec, const Matrix& m, float* scales, uint8_t* codes) {
    const auto across = static_cast<unsigned>((m.cols + 127) / 128);
    encode_groups(exec, m.x, TileGroups{m.rows, m.cols, across}, bounded(m), scales, codes);
  }

  // Inputs: with the scale of the range that x has, which is also written to scale_out.
  static void encode_by_range(const Exec& exec, Reals x, int64_t n, float* scale_out,
                              uint8_t* codes) {
    const Tensor range = absmax_of(exec, x, n);
    const SharedScale scale = SharedScale::of_range(range, Codec::kMax);
    visit(x, [&]<class T>(const T* p) {
      map(exec, p, n, scale, scale_out, ToCodes<T, Codec, false>{codes});
    });
  }
  // With the scale of each row's range, to `scales`.
  static void encode_tokens(const Exec& exec, const Matrix& m, float* scales, uint8_t* codes) {
    encode_groups(exec, m.x, RowGroups{m.rows, m.cols}, ScaleRule::plain(Codec::kMax), scales,
                  codes);
  }

  static void decode(const Exec& exec, const uint8_t* codes, const float* scales, ScaleGrid grid,
                     int64_t rows, int64_t cols, RealsOut out) {
    visit(out, [&]<class U>(U* to) {
      const bool packed = cols % kRun == 0 && aligned(codes) && aligned(to);
      const int64_t steps = packed ? (cols / kHalf + kHalvesOfRow - 1) / kHalvesOfRow : cols;
      const int64_t pieces = (steps + kThreads - 1) / kThreads;
      const auto threads =
          pieces == 0 ? 0 : static_cast<int>(((steps + pieces - 1) / pieces + 31) / 32 * 32);
      launch(packed ? decode_rows<U, Codec, true> : decode_rows<U, Codec, false>,
             {rows * pieces, threads}, exec, codes, scales, grid, cols,
             static_cast<unsigned>(pieces), to);
    });
  }

  // x and out are of the same type and may be the same memory.
  static void round_trip(const Exec& exec, Reals x, int64_t n, float scale, RealsOut out) {
    visit(x, [&]<class T>(const T* p) {
      map(exec, p, n, SharedScale::known(scale), nullptr, to_values(p, out));
    });
  }
  // With the scale of the range that x has.
  static void round_trip(const Exec& exec, Reals x, int64_t n, RealsOut out) {
    const Tensor range = absmax_of(exec, x, n);
    const SharedScale scale = SharedScale::of_range(range, Codec::kMax);
    visit(x, [&]<class T>(const T* p) { map(exec, p, n, scale, nullptr, to_values(p, out)); });
  }
  // With the scale of each row's range.
  static void round_trip_rows(const Exec& exec, const Matrix& m, RealsOut out) {
    visit(m.x, [&]<class T>(const T* p) {
      map(exec, p, RowGroups{m.rows, m.cols}, m.cols, ScaleRule::plain(Codec::kMax), nullptr,
          to_values(p, out));
    });
  }

 private:
  template <class T>
  static ToValues<T, Codec> to_values(const T*, RealsOut out) {
    return {own_type<T>(out)};
  }

  template <class T, class Emit>
  static void map(const Exec& exec, const T* x, int64_t n, const SharedScale& scale,
                  float* scale_out, const Emit& emit) {
    // Without elements there is still a scale to write.
    launch(map_runs<T, Emit>, grid_of(std::max<int64_t>(1, (n + kRun - 1) / kRun)), exec, x, n,
           aligned(x) && emit.packed() ? 1 : 0, scale, scale_out, emit);
  }

  static ScaleRule bounded(const Matrix& m) { return ScaleRule::bounded(Codec::kMax, m.x.type); }

  template <class Groups>
  static void encode_groups(const Exec& exec, Reals x, const Groups& groups, const ScaleRule& rule,
                            float* scales, uint8_t* codes) {
    visit(x, [&]<class T>(const T* p) {
      map(exec, p, groups, groups.cols, rule, scales, ToCodes<T, Codec, false>{codes});
    });
  }

  template <class T, class Groups, class Emit>
  struct GroupKernel {
    decltype(&map_groups<T, 4, Groups, Emit>) kernel;
    int64_t runs;  // of a thread
  };
  // For rows a warp at least, and then few threads: what a block does once weighs little, and many
  // blocks are in different phases. (H200, 256 to 28672 columns: 1 run up to 512 columns, 2 at
  // 1024, 4 to 8192, 8 from there on are the fastest, by 3 to 20 % of the copy rate.)
  template <class T, class Groups, class Emit>
  static GroupKernel<T, Groups, Emit> kernel_for(int64_t runs) {
    if constexpr (std::is_same_v<Groups, RowGroups>) {
      if (runs <= 32) return {map_groups<T, 1, Groups, Emit>, 1};
      if (runs <= 64) return {map_groups<T, 2, Groups, Emit>, 2};
      if constexpr (sizeof(T) == 2) {
        if (runs > 512) return {map_groups<T, 8, Groups, Emit>, 8};
      }
    }
    return {map_groups<T, 4, Groups, Emit>, 4};
  }

  template <class T, class Groups, class Emit>
  static void map(const Exec& exec, const T* x, const Groups& groups, int64_t cols,
                  const ScaleRule& rule, float* scales, const Emit& emit) {
    constexpr int kMostRuns = sizeof(T) == 2 ? 8 : 4;
    const bool packed = cols % kRun == 0 && aligned(x) && emit.packed();
    const int64_t runs = groups.runs();
    if (!packed || runs == 0 || runs > 512 * kMostRuns) {
      launch(map_groups_by_element<T, Groups, Emit>, {groups.count(), kThreads}, exec, x, groups,
             rule, scales, emit);
      return;
    }
    const auto [kernel, per_thread] = kernel_for<T, Groups, Emit>(runs);
    const int64_t threads = (runs + per_thread - 1) / per_thread;
    launch(kernel, {groups.count(), static_cast<int>((threads + 31) / 32 * 32)}, exec, x, groups,
           rule, scales, emit);
  }
};

}  // namespace mopt::cuda

#endif
