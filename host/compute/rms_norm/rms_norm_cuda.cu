#include <array>

#include "host/compute/cuda/kernels.hpp"
#include "host/compute/range/range.cuh"

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

template <class T>
struct Rows {
  const T *x, *weight;
  T* y;
  int64_t columns;
  float eps;
  uint32_t* parts;  // of y's range; may be null
};

// One block of threads a row, whose second reading comes from the cache.
template <class T>
__global__ void normalize(Rows<T> p) {
  __shared__ float shared[kWarps];
  const T* x = p.x + blockIdx.x * p.columns;
  T* y = p.y + blockIdx.x * p.columns;
  float squares = 0;
  for (int64_t i = threadIdx.x; i < p.columns; i += blockDim.x)
    squares = fmaf(to_float(x[i]), to_float(x[i]), squares);
  const float mean = block_sum(squares, shared) / static_cast<float>(p.columns);
  const float scale = 1.0f / sqrtf(mean + p.eps);
  uint32_t most = 0;
  for (int64_t i = threadIdx.x; i < p.columns; i += blockDim.x) {
    const float out = round_to<T>(to_float(x[i]) * scale) * to_float(p.weight[i]);
    put(out, y[i]);
    most = max(most, magnitude(out));
  }
  if (p.parts != nullptr) raise_part<T>(most, p.parts);
}

// The same in packs; the first kHeld of each thread stay in registers, with their weights.
template <class T, int kHeld>
__global__ void normalize_packs(Rows<T> p) {
  constexpr int kSize = Pack<T>::kSize;
  constexpr int64_t kStep = static_cast<int64_t>(kWarps) * 32 * kSize;
  __shared__ float shared[kWarps];
  const T* x = p.x + blockIdx.x * p.columns;
  T* y = p.y + blockIdx.x * p.columns;
  const int64_t first = static_cast<int64_t>(threadIdx.x) * kSize;
  uint4 held[kHeld] = {}, factors[kHeld] = {};
  for (int k = 0; k < kHeld; ++k) {
    if (first + k * kStep < p.columns) held[k] = load_words(x + first + k * kStep);
  }
  for (int k = 0; k < kHeld; ++k) {
    if (first + k * kStep < p.columns) factors[k] = load_words(p.weight + first + k * kStep);
  }
  float squares = 0;
  const auto add = [&](uint4 words) {
    float run[kSize];
    unpack(words, x, run);
    for (const float value : run)
      squares = fmaf(value, value, squares);
  };
  for (const uint4 words : held)
    add(words);
  for (int64_t i = first + kHeld * kStep; i < p.columns; i += kStep)
    add(load_words(x + i));
  const float mean = block_sum(squares, shared) / static_cast<float>(p.columns);
  const float scale = 1.0f / sqrtf(mean + p.eps);
  uint32_t most = 0;
  const auto finish = [&](uint4 words, uint4 weight, int64_t i) {
    float run[kSize], by[kSize];
    unpack(words, x, run);
    unpack(weight, x, by);
    for (float& value : run)
      value *= scale;
    round_all<T>(run);
    for (int e = 0; e < kSize; ++e) {
      run[e] *= by[e];
      most = max(most, magnitude(run[e]));
    }
    store_pack(run, y + i);
  };
  for (int k = 0; k < kHeld; ++k) {
    if (first + k * kStep < p.columns) finish(held[k], factors[k], first + k * kStep);
  }
  for (int64_t i = first + kHeld * kStep; i < p.columns; i += kStep)
    finish(load_words(x + i), load_words(p.weight + i), i);
  if (p.parts != nullptr) raise_part<T>(most, p.parts);
}

template <class T>
auto kernel_for(int64_t columns) {
  const int64_t packs = columns / Pack<T>::kSize, threads = kWarps * 32;
  if (packs <= threads) return normalize_packs<T, 1>;
  if (packs <= 2 * threads) return normalize_packs<T, 2>;
  return normalize_packs<T, 4>;
}

void run(const RmsNormProblem& p, Queue& queue) {
  const int64_t columns = p.x.columns();
  by_dtype("rms_norm", p.x, [&]<class T>(T*) {
    const bool packed = columns % Pack<T>::kSize == 0 && aligned(p.x.data) &&
                        aligned(p.weight.data) && aligned(p.y.data);
    launch(packed ? kernel_for<T>(columns) : normalize<T>, {p.x.rows(), kWarps * 32}, queue,
           Rows<T>{static_cast<const T*>(p.x.data), static_cast<const T*>(p.weight.data),
                   p.y.as<T>(), columns, p.eps, p.range_parts});
  });
}

constexpr std::array kRows{
    DeviceKernel<RmsNormProblem>{"rms_norm.cuda", accept_any_on_device<RmsNormProblem>, run}};

}  // namespace

DeviceRows<RmsNormProblem> rms_norm_rows() {
  return kRows;
}

}  // namespace mopt::compute::cuda
