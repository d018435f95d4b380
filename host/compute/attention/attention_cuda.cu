#include <array>
#include <cmath>

#include "host/compute/cuda/kernels.hpp"
#include "host/compute/cuda/launch.cuh"

namespace mopt::compute::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kMaxHead = 512;  // elements of a head that a warp's lanes hold

template <class T>
struct Heads {
  const T *q, *k, *v;
  T* y;
  const int64_t* positions;  // NULL: the newest
  int64_t t, s, heads, kv_heads, d, window;
  float scale;
};

// What a warp knows of its keys: softmax numerators relative to `most`, summed.
struct Partial {
  float most, sum;
};

// exp(score - most), where no key at all counts as a score of -infinity. NaN stays.
__device__ inline float relative(float score, float most) {
  return score == -INFINITY ? 0.0f : expf(score - most);
}

// One block of threads a query of a head. Warp w takes keys w, w + kWarps, ...; its lanes share the
// head's elements. Sums are fp32, combined in the order of the warps.
template <class T, int kPerLane>
__global__ void attend(Heads<T> p) {
  extern __shared__ float outputs[];  // [kWarps, d]
  __shared__ Partial partials[kWarps];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t head = blockIdx.x % p.heads, query = blockIdx.x / p.heads;
  const int64_t batch = query / p.t;
  const int64_t position = p.positions != nullptr ? p.positions[query] : p.s - p.t + query % p.t;
  const int64_t stride = p.kv_heads * p.d;
  const int64_t base = batch * p.s * stride + head / (p.heads / p.kv_heads) * p.d;
  const int64_t begin = p.window > 0 && position >= p.window ? position - p.window + 1 : 0;
  float q[kPerLane], y[kPerLane];
  for (int e = 0; e < kPerLane; ++e) {
    const int64_t i = e * 32 + lane;
    q[e] = i < p.d ? to_float(p.q[blockIdx.x * p.d + i]) : 0.0f;
    y[e] = 0;
  }
  Partial mine{-INFINITY, 0};
  for (int64_t j = begin + warp; j <= position; j += kWarps) {
    float dot = 0;
    for (int e = 0; e < kPerLane; ++e) {
      const int64_t i = e * 32 + lane;
      if (i < p.d) dot = fmaf(q[e], to_float(p.k[base + j * stride + i]), dot);
    }
    const float score = warp_sum(dot) * p.scale;
    const float most = score > mine.most ? score : mine.most;
    const float fade = relative(mine.most, most), weight = relative(score, most);
    mine = {most, mine.sum * fade + weight};
    for (int e = 0; e < kPerLane; ++e) {
      const int64_t i = e * 32 + lane;
      if (i < p.d) y[e] = y[e] * fade + weight * to_float(p.v[base + j * stride + i]);
    }
  }
  for (int e = 0; e < kPerLane; ++e) {
    const int64_t i = e * 32 + lane;
    if (i < p.d) outputs[warp * p.d + i] = y[e];
  }
  if (lane == 0) partials[warp] = mine;
  __syncthreads();
  float most = -INFINITY, sum = 0;
  for (const Partial& part : partials)
    most = part.most > most ? part.most : most;
  for (const Partial& part : partials)
    sum += part.sum * relative(part.most, most);
  for (int64_t i = threadIdx.x; i < p.d; i += kWarps * 32) {
    float out = 0;
    for (int w = 0; w < kWarps; ++w)
      out += outputs[w * p.d + i] * relative(partials[w].most, most);
    put(out / sum, p.y[blockIdx.x * p.d + i]);
  }
}

template <class T>
void launch_for(const AttentionProblem& p, Queue& queue) {
  const auto [batch, t, heads, d] = p.q.shape;
  const Heads<T> h{static_cast<const T*>(p.q.data),
                   static_cast<const T*>(p.k.data),
                   static_cast<const T*>(p.v.data),
                   p.y.as<T>(),
                   p.positions ? p.positions->as<int64_t>() : nullptr,
                   t,
                   p.k.shape[1],
                   heads,
                   p.k.shape[2],
                   d,
                   p.window,
                   p.scale};
  const Grid grid{batch * t * heads, kWarps * 32, kWarps * d * static_cast<int64_t>(sizeof(float))};
  if (d <= 64) return launch(attend<T, 2>, grid, queue, h);
  if (d <= 128) return launch(attend<T, 4>, grid, queue, h);
  if (d <= 256) return launch(attend<T, 8>, grid, queue, h);
  if (d <= kMaxHead) return launch(attend<T, kMaxHead / 32>, grid, queue, h);
  throw Error(MOPT_UNSUPPORTED, "attention on a device takes heads of at most " +
                                    std::to_string(kMaxHead) + ", found " + std::to_string(d) +
                                    "; use --device cpu");
}

void run(const AttentionProblem& p, Queue& queue) {
  by_dtype("attention", p.q, [&]<class T>(T*) { launch_for<T>(p, queue); });
}

constexpr std::array kRows{
    DeviceKernel<AttentionProblem>{"attention.cudnn", attention_cudnn_refuses, attention_cudnn},
    DeviceKernel<AttentionProblem>{"attention.decode", attention_decode_refuses, attention_decode},
    DeviceKernel<AttentionProblem>{"attention.cuda", accept_any_on_device<AttentionProblem>, run}};

}  // namespace

DeviceRows<AttentionProblem> attention_rows() {
  return kRows;
}

}  // namespace mopt::compute::cuda
