#include "fp8_cuda.hpp"

#include "mopt/cuda_runs.hpp"

namespace mopt::fp8::device {
namespace {

using cuda::kRun;
using cuda::ScaleGrid;
using cuda::Words;

struct Codec {
  static constexpr float kMax = e4m3::kMax;
  static __device__ uint8_t encode(float q) { return e4m3::encode(q); }
  static __device__ float decode(uint8_t code) { return e4m3::decode(code); }
  static __device__ float round(float q) { return decode(encode(q)); }

  static __device__ Words encode_run(const float (&q)[kRun]) { return cuda::e4m3_run(q); }
  static __device__ void decode_run(const Words& codes, float (&x)[kRun]) {
    cuda::e4m3_run_values(codes, x);
  }
  static __device__ void round_run(float (&q)[kRun]) { decode_run(encode_run(q), q); }
};

using Kernels = cuda::Runs<Codec>;

static_assert(cuda::TileGroups::kTile == kTile);

}  // namespace

void encode(const Exec& exec, Reals x, int64_t n, Divisor by, float* scale_out, uint8_t* codes) {
  if (by.quotient == Quotient::kSourceType) {
    Kernels::encode<true>(exec, x, n, by.scale, scale_out, codes);
  } else {
    Kernels::encode<false>(exec, x, n, by.scale, scale_out, codes);
  }
}

void encode_rows(const Exec& exec, const Matrix& w, float* scales, uint8_t* codes) {
  Kernels::encode_rows(exec, {w.x, w.rows, w.cols}, scales, codes);
}

void encode_tiles(const Exec& exec, const Matrix& w, float* scales, uint8_t* codes) {
  Kernels::encode_tiles(exec, {w.x, w.rows, w.cols}, scales, codes);
}

void decode(const Exec& exec, const uint8_t* codes, const float* scales, Scales layout,
            int64_t rows, int64_t cols, RealsOut out) {
  if (layout == Scales::kOne) {
    Kernels::decode(exec, codes, scales, ScaleGrid::one(), 1, rows * cols, out);
  } else if (layout == Scales::kPerRow) {
    Kernels::decode(exec, codes, scales, ScaleGrid::per_row(), rows, cols, out);
  } else {
    const auto grid = ScaleGrid::per_tile((cols + kTile - 1) / kTile);
    Kernels::decode(exec, codes, scales, grid, rows, cols, out);
  }
}

void round_trip(const Exec& exec, Reals x, int64_t n, float scale, RealsOut out) {
  Kernels::round_trip(exec, x, n, scale, out);
}

void round_trip_by_range(const Exec& exec, Reals x, int64_t n, RealsOut out) {
  Kernels::round_trip(exec, x, n, out);
}

void round_trip_rows(const Exec& exec, const Matrix& x, RealsOut out) {
  Kernels::round_trip_rows(exec, {x.x, x.rows, x.cols}, out);
}

void encode_by_range(const Exec& exec, Reals x, int64_t n, float* scale_out, uint8_t* codes) {
  Kernels::encode_by_range(exec, x, n, scale_out, codes);
}

void encode_tokens(const Exec& exec, const Matrix& x, float* scales, uint8_t* codes) {
  Kernels::encode_tokens(exec, {x.x, x.rows, x.cols}, scales, codes);
}

}  // namespace mopt::fp8::device
