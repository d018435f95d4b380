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

void run(const RopeLookup& p, Queue& queue) {
  const int64_t tokens = p.x.shape[0] * p.x.shape[1];
  by_dtype("rope", p.x, [&]<class T>(T*) {
    launch(
        rotate<T>, {tokens, kThreads}, queue,
        Heads<T>{static_cast<const T*>(p.x.data), p.y.as<T>(), p.cos.as<float>(), p.sin.as<float>(),
                 p.positions.as<int64_t>(), tokens, p.x.shape[2], p.x.shape[3], p.cos.columns()});
  });
}

constexpr std::array kRows{
    DeviceKernel<RopeLookup>{"rope.cuda", accept_any_on_device<RopeLookup>, run}};

}  // namespace

DeviceRows<RopeLookup> rope_rows() {
  return kRows;
}

}  // namespace mopt::compute::cuda
