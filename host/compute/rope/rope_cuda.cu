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

// The same in packs: a thread turns a pack of pairs of one head, all of whose elements turn.
template <class T>
__global__ void rotate_packs(Heads<T> p) {
  constexpr int kSize = Pack<T>::kSize;
  const int packs = static_cast<int>(p.half) / kSize, all = static_cast<int>(p.heads) * packs;
  const int64_t token = blockIdx.x, position = p.positions[token];
  const T* x = p.x + token * p.heads * p.d;
  T* y = p.y + token * p.heads * p.d;
  for (int k = threadIdx.x; k < all; k += blockDim.x) {
    const int i = k % packs * kSize, at = k / packs * static_cast<int>(p.d) + i;
    const Pack<T> low = *reinterpret_cast<const Pack<T>*>(x + at);
    const Pack<T> high = *reinterpret_cast<const Pack<T>*>(x + at + p.half);
    Pack<T> left, right;
    for (int e = 0; e < kSize; ++e) {
      const float cos = p.cos[position * p.half + i + e], sin = p.sin[position * p.half + i + e];
      const float a = to_float(low.at[e]), b = to_float(high.at[e]);
      put(round_to<T>(a * cos) + round_to<T>(-b * sin), left.at[e]);
      put(round_to<T>(b * cos) + round_to<T>(a * sin), right.at[e]);
    }
    *reinterpret_cast<Pack<T>*>(y + at) = left;
    *reinterpret_cast<Pack<T>*>(y + at + p.half) = right;
  }
}

void run(const RopeLookup& p, Queue& queue) {
  const int64_t tokens = p.x.shape[0] * p.x.shape[1], d = p.x.shape[3], half = p.cos.columns();
  by_dtype("rope", p.x, [&]<class T>(T*) {
    const bool packed =
        half % Pack<T>::kSize == 0 && d == 2 * half && aligned(p.x.data) && aligned(p.y.data);
    launch(packed ? rotate_packs<T> : rotate<T>, {tokens, kThreads}, queue,
           Heads<T>{static_cast<const T*>(p.x.data), p.y.as<T>(), p.cos.as<float>(),
                    p.sin.as<float>(), p.positions.as<int64_t>(), tokens, p.x.shape[2], d, half});
  });
}

constexpr std::array kRows{
    DeviceKernel<RopeLookup>{"rope.cuda", accept_any_on_device<RopeLookup>, run}};

}  // namespace

DeviceRows<RopeLookup> rope_rows() {
  return kRows;
}

}  // namespace mopt::compute::cuda
