// attention of few queries over caches of keys and values: each key is read once for several heads
// of its group, in pieces of 16 bytes.
#include <algorithm>
#include <bit>

#include "host/compute/cuda/kernels.hpp"
#include "host/compute/cuda/launch.cuh"

namespace mopt::compute::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kCombining = 128;  // threads, an output each
// Heads of a group that share the reading of a key.
constexpr int kTogether = 4;
// With fewer blocks than two for each multiprocessor of an H200 there is one for each head, and the
// keys are split over as many as make four for each: a number that only shapes decide.
constexpr int64_t kFewBlocks = 264, kWantedBlocks = 528, kMostSplits = 16;

// What a stream of keys gave: softmax numerators relative to `most`, summed.
struct Partial {
  float most, sum;
};

template <class T>
struct Caches {
  const T *q, *k, *v;
  T* y;
  const int64_t* positions;
  int64_t t, s, heads, kv_heads, d, window;
  float scale;
  // With more than one: what each split gave, [queries, heads, splits], with d outputs each.
  int splits = 1;
  Partial* partials = nullptr;
  float* outputs = nullptr;
};

// Keys that a stream takes at once: they share one exponential that fades what came before, and
// their loads are on their way together.
constexpr int kKeys = 2;
// Below all scores but -infinity: exp(score - most) then is a number, or NaN of a NaN or infinity.
constexpr float kNoScore = -3.402823466e38f;

// One output of `count` partial ones and their sums, `stride` apart, combined in their order.
struct Combined {
  Partial all;
  float output;
};
__device__ inline Combined combine(const Partial* partials, const float* outputs, int64_t d,
                                   int count, int64_t stride) {
  Combined out{{kNoScore, 0}, 0};
  for (int i = 0; i < count; ++i) {
    const float one = partials[i * stride].most;
    out.all.most = one > out.all.most ? one : out.all.most;
  }
  for (int i = 0; i < count; ++i) {
    const Partial part = partials[i * stride];
    const float share = expf(part.most - out.all.most);
    out.all.sum += part.sum * share;
    out.output += outputs[i * stride * d] * share;
  }
  return out;
}

// One block of threads: kHeads heads of one kv head's group, for one query and one split of its
// keys. A key takes `lanes` lanes, so a warp holds 32 / lanes streams of keys; of all streams,
// stream i takes keys i, i + streams, ... Sums are fp32, combined in the order of the streams.
template <class T, int kHeads>
__global__ void __launch_bounds__(32 * kWarps) attend(Caches<T> p, int lanes) {
  constexpr int kRun = Pack<T>::kSize;
  extern __shared__ float outputs[];  // [streams, kHeads, d], then Partial [streams, kHeads]
  const int in_warp = 32 / lanes, streams = static_cast<int>(blockDim.x) / lanes;
  const int stream = static_cast<int>(threadIdx.x) / lanes;
  const int64_t at = static_cast<int64_t>(threadIdx.x) % lanes * kRun;
  auto* partials =
      reinterpret_cast<Partial*>(outputs + static_cast<int64_t>(streams) * kHeads * p.d);

  const int64_t group = p.heads / p.kv_heads, pieces = (group + kHeads - 1) / kHeads;
  const int64_t split = blockIdx.x % p.splits, block = blockIdx.x / p.splits;
  const int64_t piece = block % pieces, kv = block / pieces % p.kv_heads;
  const int64_t query = block / (pieces * p.kv_heads), position = p.positions[query];
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
  const int64_t all = int64_t{p.splits} * streams;
  for (int64_t j = begin + split * streams + stream / in_warp * in_warp; j <= position;
       j += kKeys * all) {
    const int64_t first = j + stream % in_warp;
    uint4 keys[kKeys] = {}, values[kKeys] = {};
    for (int n = 0; n < kKeys; ++n) {
      const int64_t key = first + n * all;
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
        weights[h][n] = first + n * all > position ? -INFINITY : weights[h][n] * p.scale;
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
    const int64_t h = c / p.d, i = c % p.d, head = query * p.heads + first_head + h;
    const Combined found = combine(partials + h, outputs + h * p.d + i, p.d, streams, kHeads);
    if (p.splits == 1) {
      put(found.output / found.all.sum, p.y[head * p.d + i]);
      continue;
    }
    p.outputs[(head * p.splits + split) * p.d + i] = found.output;
    if (i == 0) p.partials[head * p.splits + split] = found.all;
  }
}

// One block of threads a head.
template <class T>
__global__ void combine_splits(Caches<T> p) {
  const int64_t first = blockIdx.x * static_cast<int64_t>(p.splits);
  for (int64_t i = threadIdx.x; i < p.d; i += blockDim.x) {
    const Combined found =
        combine(p.partials + first, p.outputs + first * p.d + i, p.d, p.splits, 1);
    put(found.output / found.all.sum, p.y[blockIdx.x * p.d + i]);
  }
}

template <class T, int kHeads>
void launch_for(const Caches<T>& c, int64_t queries, Queue& queue) {
  const auto lanes = static_cast<int>(c.d / Pack<T>::kSize);
  const int64_t group = c.heads / c.kv_heads, pieces = (group + kHeads - 1) / kHeads;
  const int64_t streams = int64_t{kWarps} * 32 / lanes;
  const auto floats = static_cast<int64_t>(sizeof(float)),
             parts = static_cast<int64_t>(sizeof(Partial));
  launch(attend<T, kHeads>,
         {queries * c.kv_heads * pieces * c.splits, kWarps * 32,
          streams * kHeads * (c.d * floats + parts)},
         queue, c, lanes);
}

// Of few heads: no split has less than a round of keys when the caches are full.
template <class T>
void launch_split(Caches<T> c, int64_t queries, Queue& queue) {
  const int64_t heads = queries * c.heads, round = kKeys * kWarps * 32 * Pack<T>::kSize / c.d;
  const int64_t wanted = (kWantedBlocks + heads - 1) / std::max<int64_t>(1, heads);
  const int64_t splits = std::min({wanted, kMostSplits, (c.s + round - 1) / round});
  if (splits <= 1) return launch_for<T, 1>(c, queries, queue);
  const int64_t parts = heads * splits;
  const Buffer memory = queue.take(
      parts * (static_cast<int64_t>(sizeof(Partial)) + c.d * static_cast<int64_t>(sizeof(float))));
  c.splits = static_cast<int>(splits);
  c.partials = reinterpret_cast<Partial*>(memory.get());
  c.outputs = reinterpret_cast<float*>(c.partials + parts);
  launch_for<T, 1>(c, queries, queue);
  launch(combine_splits<T>, {heads, kCombining}, queue, c);
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
  if (blocks < kFewBlocks) return launch_split(c, queries, queue);
  if (group == 1) return launch_for<T, 1>(c, queries, queue);
  if (group == 2) return launch_for<T, 2>(c, queries, queue);
  if (group == 3) return launch_for<T, 3>(c, queries, queue);
  launch_for<T, kTogether>(c, queries, queue);
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
