#include <array>
#include <cmath>

#include "host/compute/cuda/kernels.hpp"
#include "host/compute/cuda/launch.cuh"

namespace mopt::compute::cuda {
namespace {

constexpr int kWarps = kThreads / 32;

// The larger logit, the first of equal ones.
struct Top {
  float value;
  int64_t index;
};

__device__ Top better(Top a, Top b) {
  const bool second = b.value > a.value || (b.value == a.value && b.index < a.index);
  return second ? b : a;
}

struct Shared {
  Top tops[kWarps];
  double sums[kWarps];
};

__device__ Top block_top(Top x, Shared& shared) {
  for (int step = 16; step > 0; step /= 2) {
    const Top other = {__shfl_xor_sync(0xFFFFFFFFu, x.value, step),
                       __shfl_xor_sync(0xFFFFFFFFu, x.index, step)};
    x = better(x, other);
  }
  __syncthreads();  // nobody reads what is written now
  if (threadIdx.x % 32 == 0) shared.tops[threadIdx.x / 32] = x;
  __syncthreads();
  for (int w = 0; w < kWarps; ++w)
    x = better(x, shared.tops[w]);
  return x;
}

// In a fixed order.
__device__ double block_sum(double x, Shared& shared) {
  x = warp_sum(x);
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared.sums[threadIdx.x / 32] = x;
  __syncthreads();
  double sum = 0;
  for (int w = 0; w < kWarps; ++w)
    sum += shared.sums[w];
  return sum;
}

struct Softmax {
  int64_t top;
  double norm;  // log(sum(exp(x)))
};

template <class T>
__device__ Softmax softmax(const T* x, int64_t columns, Shared& shared) {
  Top mine = {-INFINITY, columns};
  for (int64_t i = threadIdx.x; i < columns; i += kThreads)
    mine = better(mine, {to_float(x[i]), i});
  const Top top = block_top(mine, shared);
  double sum = 0;
  for (int64_t i = threadIdx.x; i < columns; i += kThreads)
    sum += expf(to_float(x[i]) - top.value);
  sum = block_sum(sum, shared);
  return {top.index, top.value + log(sum)};
}

// One block of threads a row, which it reads three times; the second and third come from the cache.
template <class T>
__global__ void diverge(const T* ours, const T* reference, double* result, int64_t columns) {
  __shared__ Shared shared;
  const T* a = ours + blockIdx.x * columns;
  const T* b = reference + blockIdx.x * columns;
  const Softmax q = softmax(a, columns, shared);
  const Softmax p = softmax(b, columns, shared);
  double kl = 0;
  for (int64_t i = threadIdx.x; i < columns; i += kThreads) {
    const double log_p = to_float(b[i]) - p.norm;
    const float share = expf(static_cast<float>(log_p));
    if (share != 0) kl += share * (log_p - (to_float(a[i]) - q.norm));
  }
  kl = block_sum(kl, shared);
  if (threadIdx.x != 0) return;
  if (q.norm != q.norm) kl = q.norm;
  result[2 * blockIdx.x] = kl;
  result[2 * blockIdx.x + 1] = kl == kl && p.top == q.top ? 1 : 0;
}

void run(const DivergenceProblem& p, Queue& queue) {
  by_dtype("divergence", p.ours, [&]<class T>(T*) {
    launch(diverge<T>, {p.ours.rows(), kThreads}, queue, static_cast<const T*>(p.ours.data),
           static_cast<const T*>(p.reference.data), p.result.as<double>(), p.ours.columns());
  });
}

constexpr std::array kRows{DeviceKernel<DivergenceProblem>{
    "divergence.cuda", accept_any_on_device<DivergenceProblem>, run}};

}  // namespace

DeviceRows<DivergenceProblem> divergence_rows() {
  return kRows;
}

}  // namespace mopt::compute::cuda
