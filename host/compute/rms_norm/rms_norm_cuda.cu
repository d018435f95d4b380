#include <array>

#include "host/compute/cuda/kernels.hpp"
#include "host/compute/cuda/launch.cuh"

namespace mopt::compute::cuda {
namespace {

constexpr int kWarps = 8;

// The sum over a block of threads, the same in each.
__device__ float block_sum(float x, float* shared) {
  x = warp_sum(x);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  float sum = 0;
  for (int w = 0; w < kWarps; ++w)
    sum += shared[w];
  return sum;
}

// One block of threads a row, whose second reading comes from the cache.
template <class T, bool kPacked>
__global__ void normalize(const T* x, const T* weight, T* y, int64_t columns, float eps) {
  constexpr int kRun = kPacked ? Pack<T>::kSize : 1;
  __shared__ float shared[kWarps];
  x += blockIdx.x * columns;
  y += blockIdx.x * columns;
  float squares = 0;
  for (int64_t i = threadIdx.x * kRun; i < columns; i += blockDim.x * kRun) {
    if constexpr (kPacked) {
      const Pack<T> pack = *reinterpret_cast<const Pack<T>*>(x + i);
      for (int e = 0; e < kRun; ++e)
        squares = fmaf(to_float(pack.at[e]), to_float(pack.at[e]), squares);
    } else {
      squares = fmaf(to_float(x[i]), to_float(x[i]), squares);
    }
  }
  const float mean = block_sum(squares, shared) / static_cast<float>(columns);
  const float scale = 1.0f / sqrtf(mean + eps);
  for (int64_t i = threadIdx.x * kRun; i < columns; i += blockDim.x * kRun) {
    if constexpr (kPacked) {
      const Pack<T> from = *reinterpret_cast<const Pack<T>*>(x + i);
      const Pack<T> by = *reinterpret_cast<const Pack<T>*>(weight + i);
      Pack<T> to;
      for (int e = 0; e < kRun; ++e)
        put(round_to<T>(to_float(from.at[e]) * scale) * to_float(by.at[e]), to.at[e]);
      *reinterpret_cast<Pack<T>*>(y + i) = to;
    } else {
      put(round_to<T>(to_float(x[i]) * scale) * to_float(weight[i]), y[i]);
    }
  }
}

// The same with the row in registers, kPacks packs a thread.
template <class T, int kPacks>
__global__ void normalize_held(const T* x, const T* weight, T* y, int64_t columns, float eps) {
  constexpr int kSize = Pack<T>::kSize;
  __shared__ float shared[kWarps];
  const auto* from = reinterpret_cast<const Pack<T>*>(x + blockIdx.x * columns);
  const auto* by = reinterpret_cast<const Pack<T>*>(weight);
  auto* to = reinterpret_cast<Pack<T>*>(y + blockIdx.x * columns);
  const int packs = static_cast<int>(columns) / kSize;
  Pack<T> held[kPacks] = {};
  float squares = 0;
  for (int k = 0; k < kPacks; ++k) {
    const int i = k * kWarps * 32 + static_cast<int>(threadIdx.x);
    if (i >= packs) continue;
    held[k] = from[i];
    for (int e = 0; e < kSize; ++e)
      squares = fmaf(to_float(held[k].at[e]), to_float(held[k].at[e]), squares);
  }
  const float mean = block_sum(squares, shared) / static_cast<float>(columns);
  const float scale = 1.0f / sqrtf(mean + eps);
  for (int k = 0; k < kPacks; ++k) {
    const int i = k * kWarps * 32 + static_cast<int>(threadIdx.x);
    if (i >= packs) continue;
    const Pack<T> factors = by[i];
    Pack<T> out;
    for (int e = 0; e < kSize; ++e)
      put(round_to<T>(to_float(held[k].at[e]) * scale) * to_float(factors.at[e]), out.at[e]);
    to[i] = out;
  }
}

// The kernel for a row, which must be packed for all but the first.
template <class T>
auto kernel_for(int64_t columns, bool packed) {
  const int64_t packs = columns / Pack<T>::kSize, threads = kWarps * 32;
  if (!packed) return normalize<T, false>;
  if (packs <= threads) return normalize_held<T, 1>;
  if (packs <= 2 * threads) return normalize_held<T, 2>;
  if (packs <= 4 * threads) return normalize_held<T, 4>;
  return normalize<T, true>;
}

void run(const RmsNormProblem& p, Queue& queue) {
  const int64_t columns = p.x.columns();
  by_dtype("rms_norm", p.x, [&]<class T>(T*) {
    const bool packed = columns % Pack<T>::kSize == 0 && aligned(p.x.data) &&
                        aligned(p.weight.data) && aligned(p.y.data);
    launch(kernel_for<T>(columns, packed), {p.x.rows(), kWarps * 32}, queue,
           static_cast<const T*>(p.x.data), static_cast<const T*>(p.weight.data), p.y.as<T>(),
           columns, p.eps);
  });
}

constexpr std::array kRows{
    DeviceKernel<RmsNormProblem>{"rms_norm.cuda", accept_any_on_device<RmsNormProblem>, run}};

}  // namespace

DeviceRows<RmsNormProblem> rms_norm_rows() {
  return kRows;
}

}  // namespace mopt::compute::cuda
