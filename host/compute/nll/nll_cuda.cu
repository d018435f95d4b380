#include <array>
#include <cmath>

#include "host/compute/cuda/kernels.hpp"
#include "host/compute/cuda/launch.cuh"

namespace mopt::compute::cuda {
namespace {

constexpr int kWarps = kThreads / 32;

__device__ float block_max(float x, float* shared) {
  x = warp_max(x);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  for (int w = 0; w < kWarps; ++w)
    x = shared[w] > x ? shared[w] : x;
  return x;
}

__device__ double block_sum(double x, double* shared) {
  x = warp_sum(x);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  double sum = 0;
  for (int w = 0; w < kWarps; ++w)
    sum += shared[w];
  return sum;
}

// One block of threads a row: the maximum, then the sum of exponentials in fp64.
template <class T>
__global__ void score(const T* logits, const int64_t* targets, double* result, int64_t columns) {
  __shared__ float maxima[kWarps];
  __shared__ double sums[kWarps];
  const T* x = logits + blockIdx.x * columns;
  float most = -INFINITY;
  bool nan = false;
  for (int64_t i = threadIdx.x; i < columns; i += kThreads) {
    const float value = to_float(x[i]);
    nan = nan || value != value;
    most = value > most ? value : most;
  }
  most = block_max(most, maxima);
  double sum = nan ? NAN : 0.0;
  for (int64_t i = threadIdx.x; i < columns; i += kThreads)
    sum += expf(to_float(x[i]) - most);
  sum = block_sum(sum, sums);
  if (threadIdx.x == 0) {
    result[blockIdx.x] = log(sum) + (static_cast<double>(most) - to_float(x[targets[blockIdx.x]]));
  }
}

void run(const NllOnDevice& p, Queue& queue) {
  by_dtype("nll", p.logits, [&]<class T>(T*) {
    launch(score<T>, {p.logits.rows(), kThreads}, queue, static_cast<const T*>(p.logits.data),
           p.targets.as<int64_t>(), p.result.as<double>(), p.logits.columns());
  });
}

constexpr std::array kRows{
    DeviceKernel<NllOnDevice>{"nll.cuda", accept_any_on_device<NllOnDevice>, run}};

}  // namespace

DeviceRows<NllOnDevice> nll_rows() {
  return kRows;
}

}  // namespace mopt::compute::cuda
