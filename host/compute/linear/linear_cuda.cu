#include <array>

#include "host/compute/cuda/kernels.hpp"
#include "host/compute/cuda/launch.cuh"

namespace mopt::compute::cuda {
namespace {

constexpr int kTile = 16;

template <class T>
struct Product {
  const T *x, *weight, *bias;  // bias may be null
  T* y;
  int64_t m, n, k;
};

// A block of threads makes a tile of 16x16 outputs from tiles of both operands; fp32 sums.
template <class T>
__global__ void multiply(Product<T> p) {
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
  if (p.bias != nullptr) sum += to_float(p.bias[column]);
  put(sum, p.y[row * p.n + column]);
}

void run(const LinearCall& p, Queue& queue) {
  const int64_t m = p.x.shape[0], n = p.weight.shape[0], k = p.weight.shape[1];
  by_dtype("linear", p.weight, [&]<class T>(T*) {
    const int64_t blocks = (m + kTile - 1) / kTile * ((n + kTile - 1) / kTile);
    launch(
        multiply<T>, {blocks, kTile * kTile}, queue,
        Product<T>{static_cast<const T*>(p.x.data), static_cast<const T*>(p.weight.data),
                   p.bias ? static_cast<const T*>(p.bias->data) : nullptr, p.y.as<T>(), m, n, k});
  });
}

constexpr std::array kRows{
    DeviceKernel<LinearCall>{"linear.cublaslt", linear_cublaslt_refuses, linear_cublaslt},
    DeviceKernel<LinearCall>{"linear.cuda", accept_any_on_device<LinearCall>, run}};

}  // namespace

DeviceRows<LinearCall> linear_rows() {
  return kRows;
}

}  // namespace mopt::compute::cuda
