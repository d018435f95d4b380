// attention of few queries over caches of keys and values: each key is read once for several heads
// of its group, in pieces of 16 bytes.
#include <bit>

#include "host/compute/cuda/kernels.hpp"
#include "host/compute/cuda/launch.cuh"

namespace mopt::compute::cuda {
namespace {

constexpr int kWarps = 8;
// Heads of a group that share the reading of a key.
constexpr int kTogether = 4;
// With fewer blocks than two for each multiprocessor of an H200 there is one for each head, of more
// warps.
constexpr int64_t kFewBlocks = 264;
constexpr int kWarpsOfFew = 32;

template <class T>
struct Caches {
  const T *q, *k, *v;
  T* y;
  const int64_t* positions;
  int64_t t, s, heads, kv_heads, d, window;
  float scale;
};

// Keys that a stream takes at once: they share one exponential that fades what came before, and
// their loads are on their way together.
constexpr int kKeys = 2;
// Below all scores but -infinity: exp(score - most) then is a number, or NaN of a NaN or infinity.
constexpr float kNoScore = -3.402823466e38f;

// What a stream of keys gave: softmax numerators relative to `most`, summed.
struct Partial {
  float most, sum;
};

// One block of threads: kHeads heads of one kv head's group, for one query. A key takes `lanes`
// lanes, so a warp holds 32 / lanes streams of keys; stream i takes keys i, i + streams, ... Sums
// are fp32, combined in the order of the streams.
template <class T, int kHeads>
__global__ void __launch_bounds__(32 * (kHeads == 1 ? kWarpsOfFew : kWarps))
    attend(Caches<T> p, int lanes) {
  constexpr int kRun = Pack<T>::kSize;
  extern __shared__ float outputs[];  // [streams, kHeads, d], then Partial [streams, kHeads]
  const int in_warp = 32 / lanes, streams = static_cast<int>(blockDim.x) / lanes;
  const int stream = static_cast<int>(threadIdx.x) / lanes;
  const int64_t at = static_cast<int64_t>(threadIdx.x) % lanes * kRun;
  auto* partials =
      reinterpret_cast<Partial*>(outputs + static_cast<int64_t>(streams) * kHeads * p.d);

  const int64_t group = p.heads / p.kv_heads, pieces = (group + kHeads - 1) / kHeads;
  const int64_t piece = blockIdx.x % pieces, kv = blockIdx.x / pieces % p.kv_heads;
  const int64_t query = blockIdx.x / (pieces * p.kv_heads), position = p.positions[query];
  const int64_t first_head = kv * group + piece * kHeads;
  const int64_t heads = group - piece * kHeads < kHeads ? group - piece * kHeads : kHeads;
  const int64_t stride = p.kv_heads * p.d, base = query / p.t * p.s * stride + kv * p.d + at;
  const int64_t begin = p.window > 0 && position >= p.window ? position - p.window + 1 : 0;

  float q[kHeads][kRun] = {}, y[kHeads][kRun] = {};
  Partial mine[kHeads];
  for (int h = 0; h < kHeads; ++h) {
    mine[h] = {kNoScore, 0};
    if (h < heads) load_pack(p.q + (query * p.heads + first_head + h) * p.d + at, q[h]);
  }
  // The lanes of a warp go round together: its first stream decides.
  for (int64_t j = begin + stream / in_warp * in_warp; j <= position; j += kKeys * streams) {
    const int64_t first = j + stream % in_warp;
    uint4 keys[kKeys] = {}, values[kKeys] = {};
    for (int n = 0; n < kKeys; ++n) {
      const int64_t key = first + n * streams;
      if (key > position) break;
      keys[n] = load_words(p.k + base + key * stride);
      values[n] = load_words(p.v + base + key * stride);
    }
    float weights[kHeads][kKeys] = {};
    for (int n = 0; n < kKeys; ++n) {
      float k[kRun];
      unpack(keys[n], p.k, k);
      for (int h = 0; h < kHeads; ++h) {
        for (int i = 0; i < kRun; ++i)
          weights[h][n] = fmaf(q[h][i], k[i], weights[h][n]);
      }
    }
    for (int step = lanes / 2; step > 0; step /= 2) {
      for (auto& of_head : weights) {
        for (float& dot : of_head)
          dot += __shfl_xor_sync(0xFFFFFFFFu, dot, step);
      }
    }
    for (int h = 0; h < kHeads; ++h) {
      float most = mine[h].most;
      for (int n = 0; n < kKeys; ++n) {
        weights[h][n] = first + n * streams > position ? -INFINITY : weights[h][n] * p.scale;
        most = weights[h][n] > most ? weights[h][n] : most;
      }
      const float fade = expf(mine[h].most - most);
      mine[h] = {most, mine[h].sum * fade};
      for (float& weight : weights[h]) {
        weight = expf(weight - most);
        mine[h].sum += weight;
      }
      for (float& sum : y[h])
        sum *= fade;
    }
    for (int n = 0; n < kKeys; ++n) {
      float v[kRun];
      unpack(values[n], p.v, v);
      for (int h = 0; h < kHeads; ++h) {
        for (int i = 0; i < kRun; ++i)
          y[h][i] = fmaf(weights[h][n], v[i], y[h][i]);
      }
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    for (int i = 0; i < kRun; ++i)
      outputs[(stream * kHeads + h) * p.d + at + i] = y[h][i];
    if (at == 0) partials[stream * kHeads + h] = mine[h];
  }
  __syncthreads();
  for (int64_t c = threadIdx.x; c < heads * p.d; c += blockDim.x) {
    const int64_t h = c / p.d;
    float most = kNoScore, sum = 0, out = 0;
    for (int i = 0; i < streams; ++i) {
      const float one = partials[i * kHeads + h].most;
      most = one > most ? one : most;
    }
    for (int i = 0; i < streams; ++i) {
      const Partial part = partials[i * kHeads + h];
      const float share = expf(part.most - most);
      sum += part.sum * share;
      out += outputs[(i * kHeads + h) * p.d + c % p.d] * share;
    }
    put(out / sum, p.y[(query * p.heads + first_head) * p.d + c]);
  }
}

template <class T, int kHeads>
void launch_for(const Caches<T>& c, int64_t queries, int warps, Queue& queue) {
  const auto lanes = static_cast<int>(c.d / Pack<T>::kSize);
  const int64_t group = c.heads / c.kv_heads, pieces = (group + kHeads - 1) / kHeads;
  const int64_t streams = int64_t{warps} * 32 / lanes;
  const auto floats = static_cast<int64_t>(sizeof(float)),
             parts = static_cast<int64_t>(sizeof(Partial));
  launch(attend<T, kHeads>,
         {queries * c.kv_heads * pieces, warps * 32, streams * kHeads * (c.d * floats + parts)},
         queue, c, lanes);
}

template <class T>
void run_for(const AttentionProblem& p, Queue& queue) {
  const auto [batch, t, heads, d] = p.q.shape;
  const int64_t queries = batch * t, kv_heads = p.k.shape[2], group = heads / kv_heads;
  const Caches<T> c{static_cast<const T*>(p.q.data),
                    static_cast<const T*>(p.k.data),
                    static_cast<const T*>(p.v.data),
                    p.y.as<T>(),
                    p.positions->as<int64_t>(),
                    t,
                    p.k.shape[1],
                    heads,
                    kv_heads,
                    d,
                    p.window,
                    p.scale};
  const int64_t blocks = queries * kv_heads * ((group + kTogether - 1) / kTogether);
  if (blocks < kFewBlocks) return launch_for<T, 1>(c, queries, kWarpsOfFew, queue);
  if (group == 1) return launch_for<T, 1>(c, queries, kWarps, queue);
  if (group == 2) return launch_for<T, 2>(c, queries, kWarps, queue);
  if (group == 3) return launch_for<T, 3>(c, queries, kWarps, queue);
  launch_for<T, kTogether>(c, queries, kWarps, queue);
}

}  // namespace

std::string_view attention_decode_refuses(const AttentionProblem& p, const DeviceInfo&) {
  if (!p.positions) return "it takes queries with positions of their own only";
  const int64_t bytes = p.q.shape[3] * p.q.dtype.bits / 8;
  if (bytes < 16 || bytes > 512 || !std::has_single_bit(static_cast<uint64_t>(bytes))) {
    return "it takes heads of 16 to 512 bytes, a power of two";
  }
  if (!aligned(p.q.data) || !aligned(p.k.data) || !aligned(p.v.data)) {
    return "its memory is not aligned to 16 bytes";
  }
  return {};
}

void attention_decode(const AttentionProblem& p, Queue& queue) {
  by_dtype("attention", p.q, [&]<class T>(T*) { run_for<T>(p, queue); });
}

}  // namespace mopt::compute::cuda
