#include <algorithm>
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
  const int64_t n = p.x.elements();
  if (n == 0) return;
  by_real(p.x, [&]<class T>(const T* x) {
    const bool packed = aligned(x);
    // Threads that have something to do; the others' parts stay as they are.
    const int64_t threads = packed ? std::max<int64_t>(1, n / Pack<T>::kSize) : n;
    launch(raise<T>, {std::min(kRangeParts, blocks_for(threads)), kThreads}, queue, x, n,
           int{packed}, p.parts);
  });
}

constexpr std::array kRows{
    DeviceKernel<RangeProblem>{"range.cuda", accept_any_on_device<RangeProblem>, run}};

}  // namespace

DeviceRows<RangeProblem> range_rows() {
  return kRows;
}

}  // namespace mopt::compute::cuda
