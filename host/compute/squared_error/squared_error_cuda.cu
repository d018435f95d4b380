#include <algorithm>
#include <array>

#include "host/compute/cuda/kernels.hpp"
#include "host/compute/cuda/launch.cuh"

namespace mopt::compute::cuda {
namespace {

struct Sums {
  double difference = 0, original = 0;
};

template <class A, class B>
__device__ void add(const A* a, const B* b, int64_t i, float& difference, float& original) {
  const float w = to_float(b[i]), d = to_float(a[i]) - w;
  difference = fmaf(d, d, difference);
  original = fmaf(w, w, original);
}

// Elements of a thread in a row: fp32 stays exact enough over them, beyond is fp64.
constexpr int64_t kStretch = 16;

// Group g of threads takes stretches g, g + kErrorParts, ...; it alone adds to part g.
template <class A, class B>
__global__ void compare(const A* a, const B* b, int64_t n, double* parts) {
  __shared__ Sums shared[kThreads / 32];
  const int64_t step = static_cast<int64_t>(kErrorParts) * kThreads * kStretch;
  Sums sums;
  for (int64_t first = static_cast<int64_t>(blockIdx.x) * kThreads * kStretch; first < n;
       first += step) {
    float difference = 0, original = 0;
    for (int64_t k = 0; k < kStretch; ++k) {
      const int64_t i = first + k * kThreads + threadIdx.x;
      if (i < n) add(a, b, i, difference, original);
    }
    sums.difference += difference;
    sums.original += original;
  }
  sums = {warp_sum(sums.difference), warp_sum(sums.original)};
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = sums;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (const Sums& of_warp : shared) {
    parts[2 * blockIdx.x] += of_warp.difference;
    parts[2 * blockIdx.x + 1] += of_warp.original;
  }
}

void run(const SquaredErrorProblem& p, Queue& queue) {
  const int64_t n = p.a.elements();
  if (n == 0) return;
  // Groups that have something to do; the others' parts stay as they are.
  const int64_t groups = std::min(kErrorParts, blocks_for((n + kStretch - 1) / kStretch));
  by_real(p.a, [&](const auto* a) {
    by_real(p.b, [&](const auto* b) {
      using A = std::remove_cv_t<std::remove_pointer_t<decltype(a)>>;
      using B = std::remove_cv_t<std::remove_pointer_t<decltype(b)>>;
      launch(compare<A, B>, {groups, kThreads}, queue, a, b, n, p.parts);
    });
  });
}

constexpr std::array kRows{DeviceKernel<SquaredErrorProblem>{
    "squared_error.cuda", accept_any_on_device<SquaredErrorProblem>, run}};

}  // namespace

DeviceRows<SquaredErrorProblem> squared_error_rows() {
  return kRows;
}

}  // namespace mopt::compute::cuda
