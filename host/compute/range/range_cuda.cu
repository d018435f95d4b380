#include <array>

#include "host/compute/cuda/kernels.hpp"
#include "host/compute/range/range.cuh"

namespace mopt::compute::cuda {
namespace {

// Group g of threads takes packs g, g + kRangeParts, ...; it alone writes part g.
template <class T>
__global__ void raise(const T* x, int64_t n, int packed, uint32_t* parts) {
  __shared__ uint32_t shared[kThreads / 32];
  const int64_t step = static_cast<int64_t>(kRangeParts) * kThreads;
  const int64_t packs = packed != 0 ? n / Pack<T>::kSize : 0;
  uint32_t most = 0;
  for (int64_t i = global_thread(); i < packs; i += step) {
    const Pack<T> pack = reinterpret_cast<const Pack<T>*>(x)[i];
    for (const T& value : pack.at)
      most = max(most, magnitude(to_float(value)));
  }
  for (int64_t i = packs * Pack<T>::kSize + global_thread(); i < n; i += step)
    most = max(most, magnitude(to_float(x[i])));
  most = warp_max(most);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = most;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (const uint32_t of_warp : shared)
    most = max(most, of_warp);
  parts[blockIdx.x] = max(parts[blockIdx.x], most);
}

void run(const RangeProblem& p, Queue& queue) {
  if (p.x.elements() == 0) return;
  by_real(p.x, [&]<class T>(const T* x) {
    launch(raise<T>, {kRangeParts, kThreads}, queue, x, p.x.elements(), int{aligned(x)}, p.parts);
  });
}

constexpr std::array kRows{
    DeviceKernel<RangeProblem>{"range.cuda", accept_any_on_device<RangeProblem>, run}};

}  // namespace

DeviceRows<RangeProblem> range_rows() {
  return kRows;
}

}  // namespace mopt::compute::cuda
