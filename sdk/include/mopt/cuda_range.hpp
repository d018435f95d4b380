// Scales and ranges on the device. For *_cuda.cu files.
#pragma once

#include "mopt/cuda.hpp"

#if defined(__CUDACC__) || defined(MOPT_CUDA_EMULATION)

#  include "mopt/numeric/range.hpp"

namespace mopt::cuda {

// absmax -> scale: range.hpp's scale_of, or its bounded_scale where `least` is not 0.
struct ScaleRule {
  float bound, least;
  static ScaleRule plain(float bound) { return {bound, 0}; }
  static ScaleRule bounded(float bound, Real source) {
    return {bound, source == Real::kF16 ? fp16::kMinNormal : 0x1p-126f};
  }
  __device__ float operator()(float absmax) const {
    const float scale = __fdiv_rn(fmaxf(absmax, least), bound);
    return absmax > 0 && scale > 0 ? scale : 1.0f;
  }
};

// A scale that the host knows, or one in the device's memory, or a range there.
struct SharedScale {
  float value;
  const uint32_t* bits;  // of a float32; null: `value` holds
  ScaleRule rule;        // of a range, the maximum of magnitudes; bound 0: the scale itself
  static SharedScale known(float value) { return {value, nullptr, {}}; }
  static SharedScale stored(const float* scale) {
    return {0, reinterpret_cast<const uint32_t*>(scale), {}};
  }
  static SharedScale of_range(const Tensor& absmax, float bound) {
    return {0, absmax.data<uint32_t>(), ScaleRule::plain(bound)};
  }
  __device__ float get() const {
    if (bits == nullptr) return value;
    const float found = std::bit_cast<float>(*bits);
    return rule.bound == 0 ? found : rule(found);
  }
};

// max |x| into *most, which holds zero bits before; a maximum needs no order to be the same.
template <class T>
__global__ void __launch_bounds__(kThreads)
    find_absmax(const T* x, int64_t n, int packed, uint32_t* most) {
  float found = 0;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads * kRun;
  for (int64_t first = global_thread() * kRun; first < n; first += step) {
    if (packed != 0 && first + kRun <= n) {
      found = fmaxf(found, run_absmax(load_run(x + first)));
      continue;
    }
    for (int64_t i = first; i < n && i < first + kRun; ++i)
      found = fmaxf(found, fabsf(to_float(x[i])));
  }
  found = block_max(found);
  if (threadIdx.x == 0) atomicMax(most, std::bit_cast<uint32_t>(found));
}

// max |x| of n elements as SharedScale wants it. The memory is the stream's: what is enqueued after
// the call may use it, also when the tensor has gone.
inline Tensor absmax_of(const Exec& exec, Reals x, int64_t n) {
  Tensor found = exec.alloc(kU32, {});
  zero(exec, found.data<void>(), sizeof(uint32_t));
  visit(x, [&]<class T>(const T* p) {
    // Enough blocks to fill any device of today.
    const int64_t blocks = std::min<int64_t>(grid_of((n + kRun - 1) / kRun).blocks, 1024);
    launch(find_absmax<T>, {blocks, kThreads}, exec, p, n, aligned(p) ? 1 : 0,
           found.data<uint32_t>());
  });
  return found;
}

// The elements to write where they are of type T, as those of an input are.
template <class T>
T* own_type(RealsOut out) {
  return visit(out, []<class U>(U* to) -> T* {
    if constexpr (std::is_same_v<T, U>) return to;
    throw Error(MOPT_UNSUPPORTED, "an input is quantized to its own type only; convert it first");
  });
}

}  // namespace mopt::cuda

#endif
