#include <algorithm>
#include <array>

#include "host/compute/cuda/kernels.hpp"
#include "host/compute/cuda/launch.cuh"

namespace mopt::compute::cuda {
namespace {

template <class T>
struct Heads {
  const T* x;
  T* y;
  const float *cos, *sin;    // [S, half]
  const int64_t* positions;  // [tokens]
  int64_t tokens, heads, d, half;
};

// One block of threads a token; a thread turns pairs (i, i + half) of its heads.
template <class T>
__global__ void rotate(Heads<T> p) {
  const int64_t token = blockIdx.x, position = p.positions[token];
  const T* x = p.x + token * p.heads * p.d;
  T* y = p.y + token * p.heads * p.d;
  const float* cos = p.cos + position * p.half;
  const float* sin = p.sin + position * p.half;
  for (int64_t k = threadIdx.x; k < p.heads * p.half; k += blockDim.x) {
    const int64_t i = k % p.half, at = k / p.half * p.d + i;
    const float low = to_float(x[at]), high = to_float(x[at + p.half]);
    put(round_to<T>(low * cos[i]) + round_to<T>(-high * sin[i]), y[at]);
    put(round_to<T>(high * cos[i]) + round_to<T>(low * sin[i]), y[at + p.half]);
  }
  const int64_t rest = p.d - 2 * p.half;
  for (int64_t k = threadIdx.x; k < p.heads * rest; k += blockDim.x) {
    const int64_t at = k / rest * p.d + 2 * p.half + k % rest;
    y[at] = x[at];
  }
}

// y = a * cos + sign * b * sin, the products rounded as T.
template <class T>
__device__ void store_turned(const float (&a)[Pack<T>::kSize], const float (&cos)[Pack<T>::kSize],
                             const float (&b)[Pack<T>::kSize], const float (&sin)[Pack<T>::kSize],
                             float sign, T* y) {
  float sum[Pack<T>::kSize], crossed[Pack<T>::kSize];
  for (int e = 0; e < Pack<T>::kSize; ++e) {
    sum[e] = a[e] * cos[e];
    crossed[e] = sign * b[e] * sin[e];
  }
  round_all<T>(sum);
  round_all<T>(crossed);
  for (int e = 0; e < Pack<T>::kSize; ++e)
    sum[e] += crossed[e];
  store_pack(sum, y);
}

// Heads whose packs a thread loads before it turns the first: enough bytes on their way to keep an
// H200's memory busy with 1024 threads on each multiprocessor.
constexpr int kTogether = 2;

// The same in packs, where all elements of a head turn: a thread turns one pack of pairs of every
// rows-th head by angles that it reads once.
template <class T>
__global__ void rotate_packs(Heads<T> p) {
  constexpr int kSize = Pack<T>::kSize;
  const int half = static_cast<int>(p.half), d = 2 * half, heads = static_cast<int>(p.heads);
  const int packs = half / kSize, rows = static_cast<int>(blockDim.x) / packs;
  const int thread = static_cast<int>(threadIdx.x), row = thread / packs;
  const int column = (thread - row * packs) * kSize;
  if (row >= rows) return;
  const int64_t token = blockIdx.x, angle = p.positions[token] * half + column;
  const T* x = p.x + token * heads * d + column;
  T* y = p.y + token * heads * d + column;
  float cos[kSize], sin[kSize];
  for (int e = 0; e < kSize; e += Pack<float>::kSize) {
    load_pack(p.cos + angle + e, reinterpret_cast<float(&)[Pack<float>::kSize]>(cos[e]));
    load_pack(p.sin + angle + e, reinterpret_cast<float(&)[Pack<float>::kSize]>(sin[e]));
  }
  for (int first = row; first < heads; first += kTogether * rows) {
    uint4 lower[kTogether] = {}, upper[kTogether] = {};
    for (int k = 0; k < kTogether; ++k) {
      const int head = first + k * rows;
      if (head >= heads) break;
      lower[k] = load_words(x + head * d);
      upper[k] = load_words(x + head * d + half);
    }
    for (int k = 0; k < kTogether; ++k) {
      const int head = first + k * rows;
      if (head >= heads) break;
      float low[kSize], high[kSize];
      unpack(lower[k], x, low);
      unpack(upper[k], x, high);
      store_turned<T>(low, cos, high, sin, -1.0f, y + head * d);
      store_turned<T>(high, cos, low, sin, 1.0f, y + head * d + half);
    }
  }
}

void run(const RopeLookup& p, Queue& queue) {
  const int64_t tokens = p.x.shape[0] * p.x.shape[1], heads = p.x.shape[2], d = p.x.shape[3];
  const int64_t half = p.cos.columns();
  by_dtype("rope", p.x, [&]<class T>(T*) {
    const Heads<T> work{static_cast<const T*>(p.x.data),
                        p.y.as<T>(),
                        p.cos.as<float>(),
                        p.sin.as<float>(),
                        p.positions.as<int64_t>(),
                        tokens,
                        heads,
                        d,
                        half};
    const int64_t packs = half / Pack<T>::kSize;
    const bool packed = half % Pack<T>::kSize == 0 && d == 2 * half && packs <= kThreads &&
                        aligned(p.x.data) && aligned(p.y.data) && aligned(p.cos.data) &&
                        aligned(p.sin.data);
    if (!packed) return launch(rotate<T>, {tokens, kThreads}, queue, work);
    const int64_t threads = packs * ((heads + kTogether - 1) / kTogether);
    const auto whole_warps =
        static_cast<int>(std::min<int64_t>((threads + 31) / 32 * 32, kThreads));
    launch(rotate_packs<T>, {tokens, whole_warps}, queue, work);
  });
}

constexpr std::array kRows{
    DeviceKernel<RopeLookup>{"rope.cuda", accept_any_on_device<RopeLookup>, run}};

}  // namespace

DeviceRows<RopeLookup> rope_rows() {
  return kRows;
}

}  // namespace mopt::compute::cuda
