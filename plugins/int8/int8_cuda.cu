#include "int8_cuda.hpp"

#include "mopt/cuda_runs.hpp"
#include "mopt/numeric/int8.hpp"

namespace mopt::int8::device {
namespace {

using cuda::kRun;
using cuda::ScaleGrid;
using cuda::Words;

struct Codec {
  static constexpr float kMax = int8::kMax;
  static __device__ uint8_t encode(float q) { return static_cast<uint8_t>(int8::encode(q)); }
  static __device__ float decode(uint8_t code) { return int8::decode(static_cast<int8_t>(code)); }
  static __device__ float round(float q) { return int8::round(q); }

  // 1.5 * 2^23 added: the nearest integer stands in the low bits as a two's complement number.
  static __device__ float sum(float q) {
    return __fadd_rn(cuda::clamp(q, -128.0f, 127.0f), 0x1.8p23f);
  }
  static __device__ Words encode_run(const float (&q)[kRun]) {
    Words codes;
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      uint32_t byte[4];
#pragma unroll
      for (int i = 0; i < 4; ++i)
        byte[i] = std::bit_cast<uint32_t>(sum(q[4 * w + i]));
      codes.at[w] = __byte_perm(__byte_perm(byte[0], byte[1], 0x0040u),
                                __byte_perm(byte[2], byte[3], 0x0040u), 0x5410u);
    }
    return codes;
  }
  static __device__ void decode_run(const Words& codes, float (&x)[kRun]) {
#pragma unroll
    for (int i = 0; i < kRun; ++i)
      x[i] = decode(static_cast<uint8_t>(codes.at[i / 4] >> (i % 4 * 8)));
  }
  static __device__ void round_run(float (&q)[kRun]) {
#pragma unroll
    for (int i = 0; i < kRun; ++i)
      q[i] = __fsub_rn(sum(q[i]), 0x1.8p23f);
  }
};

using Kernels = cuda::Runs<Codec>;

uint8_t* bytes(int8_t* codes) {
  return reinterpret_cast<uint8_t*>(codes);
}

}  // namespace

void encode(const Exec& exec, const Matrix& w, float scale, float* scale_out, int8_t* codes) {
  Kernels::encode<false>(exec, w.x, w.rows * w.cols, scale, scale_out, bytes(codes));
}

void encode_rows(const Exec& exec, const Matrix& w, float* scales, int8_t* codes) {
  Kernels::encode_rows(exec, {w.x, w.rows, w.cols}, scales, bytes(codes));
}

void decode(const Exec& exec, const int8_t* codes, const float* scales, Scales layout, int64_t rows,
            int64_t cols, RealsOut out) {
  const auto* from = reinterpret_cast<const uint8_t*>(codes);
  if (layout == Scales::kOne) {
    Kernels::decode(exec, from, scales, ScaleGrid::one(), 1, rows * cols, out);
  } else {
    Kernels::decode(exec, from, scales, ScaleGrid::per_row(), rows, cols, out);
  }
}

void round_trip(const Exec& exec, const Matrix& x, float scale, RealsOut out) {
  Kernels::round_trip(exec, x.x, x.rows * x.cols, scale, out);
}

void round_trip_by_range(const Exec& exec, const Matrix& x, RealsOut out) {
  Kernels::round_trip(exec, x.x, x.rows * x.cols, out);
}

void round_trip_rows(const Exec& exec, const Matrix& x, RealsOut out) {
  Kernels::round_trip_rows(exec, {x.x, x.rows, x.cols}, out);
}

}  // namespace mopt::int8::device
