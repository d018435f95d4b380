#include <array>

#include "host/compute/cuda/kernels.hpp"
#include "host/compute/cuda/launch.cuh"
#include "mopt/numeric/e4m3.hpp"

namespace mopt::compute::cuda {
namespace {

constexpr int kTile = 16;

struct Code {
  uint8_t bits;
};
using mopt::to_float;
__device__ inline float to_float(Code x) {
  return e4m3::decode(x.bits);
}

// What the sums of an operand's rows are multiplied by; no codes: null.
struct Scales {
  const float* at;
  int64_t step;  // 0: one for all rows
  __device__ float of(int64_t row) const { return at[row * step]; }
};

Scales scales_of(const std::optional<View>& v) {
  if (!v) return {nullptr, 0};
  return {v->as<float>(), v->elements() == 1 ? 0 : 1};
}

template <class T, class Out>
struct Product {
  const T *x, *weight;
  const Out* bias;  // may be null
  Out* y;
  int64_t m, n, k;
  Scales x_scales, weight_scales;
};

// A block of threads makes a tile of 16x16 outputs from tiles of both operands; fp32 sums.
template <class T, class Out>
__global__ void multiply(Product<T, Out> p) {
  __shared__ float left[kTile][kTile + 1], right[kTile][kTile + 1];
  const int64_t tiles = (p.n + kTile - 1) / kTile;
  const int tx = threadIdx.x % kTile, ty = threadIdx.x / kTile;
  const int64_t row = blockIdx.x / tiles * kTile + ty, column = blockIdx.x % tiles * kTile + tx;
  const int64_t weight_row = blockIdx.x % tiles * kTile + ty;
  float sum = 0;
  for (int64_t first = 0; first < p.k; first += kTile) {
    const int64_t i = first + tx;
    left[ty][tx] = row < p.m && i < p.k ? to_float(p.x[row * p.k + i]) : 0.0f;
    right[ty][tx] = weight_row < p.n && i < p.k ? to_float(p.weight[weight_row * p.k + i]) : 0.0f;
    __syncthreads();
    for (int j = 0; j < kTile; ++j)
      sum = fmaf(left[ty][j], right[tx][j], sum);
    __syncthreads();
  }
  if (row >= p.m || column >= p.n) return;
  if constexpr (std::is_same_v<T, Code>)
    sum = __fmul_rn(__fmul_rn(sum, p.x_scales.of(row)), p.weight_scales.of(column));
  if (p.bias != nullptr) sum += to_float(p.bias[column]);
  put(sum, p.y[row * p.n + column]);
}

template <class T, class Out>
void run_as(const LinearCall& p, Queue& queue) {
  const int64_t m = p.x.shape[0], n = p.weight.shape[0], k = p.weight.shape[1];
  const int64_t blocks = (m + kTile - 1) / kTile * ((n + kTile - 1) / kTile);
  launch(multiply<T, Out>, {blocks, kTile * kTile}, queue,
         Product<T, Out>{static_cast<const T*>(p.x.data), static_cast<const T*>(p.weight.data),
                         p.bias ? static_cast<const Out*>(p.bias->data) : nullptr, p.y.as<Out>(), m,
                         n, k, scales_of(p.x_scale), scales_of(p.weight_scale)});
}

void run(const LinearCall& p, Queue& queue) {
  by_dtype("linear", p.y,
           [&]<class T>(T*) { p.x_scale ? run_as<Code, T>(p, queue) : run_as<T, T>(p, queue); });
}

__global__ void repeat(const float* scale, int64_t n, float* rows) {
  const int64_t i = global_thread();
  if (i < n) rows[i] = *scale;
}

constexpr std::array kRows{
    DeviceKernel<LinearCall>{"linear.cublaslt", linear_cublaslt_refuses, linear_cublaslt},
    DeviceKernel<LinearCall>{"linear.cuda", accept_any_on_device<LinearCall>, run}};

}  // namespace

void repeat_scale(const View& scale, const View& rows, Queue& queue) {
  const int64_t n = rows.elements();
  launch(repeat, {blocks_for(n), kThreads}, queue, scale.as<float>(), n, rows.as<float>());
}

DeviceRows<LinearCall> linear_rows() {
  return kRows;
}

}  // namespace mopt::compute::cuda
