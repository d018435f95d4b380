// Elementwise kernels: y[i] = fn(a[i]) or fn(a[i], b[i]) in fp32, rounded once; 16 bytes of the
// widest type a thread, so that memory is the limit.
#pragma once

#include "host/compute/cuda/launch.cuh"

namespace mopt::compute::cuda {

// Elements of a thread: a whole Pack of the narrower type.
template <class In, class Out>
constexpr int kStretch = Pack<In>::kSize > Pack<Out>::kSize ? Pack<In>::kSize : Pack<Out>::kSize;

template <int N, class T>
__device__ void load_run(const T* from, float (&to)[N]) {
  constexpr int kSize = Pack<T>::kSize;
  for (int p = 0; p < N; p += kSize)
    load_pack(from + p, reinterpret_cast<float(&)[kSize]>(to[p]));
}
template <int N, class T>
__device__ void store_run(const float (&from)[N], T* to) {
  constexpr int kSize = Pack<T>::kSize;
  for (int p = 0; p < N; p += kSize)
    store_pack(reinterpret_cast<const float(&)[kSize]>(from[p]), to + p);
}

// `packed`: all pointers are aligned to 16 bytes.
template <class In, class Out, class Fn>
__global__ void map_one(const In* x, Out* y, int64_t n, int packed, Fn fn) {
  constexpr int kRun = kStretch<In, Out>;
  const int64_t first = global_thread() * kRun;
  if (packed != 0 && first + kRun <= n) {
    float run[kRun];
    load_run(x + first, run);
    for (float& value : run)
      value = fn(value);
    store_run(run, y + first);
    return;
  }
  for (int64_t i = first; i < n && i < first + kRun; ++i)
    put(fn(to_float(x[i])), y[i]);
}

template <class T, class Fn>
__global__ void map_two(const T* a, const T* b, T* y, int64_t n, int packed, Fn fn) {
  constexpr int kRun = Pack<T>::kSize;
  const int64_t first = global_thread() * kRun;
  if (packed != 0 && first + kRun <= n) {
    float left[kRun], right[kRun];
    load_run(a + first, left);
    load_run(b + first, right);
    for (int i = 0; i < kRun; ++i)
      left[i] = fn(left[i], right[i]);
    store_run(left, y + first);
    return;
  }
  for (int64_t i = first; i < n && i < first + kRun; ++i)
    put(fn(to_float(a[i]), to_float(b[i])), y[i]);
}

template <class In, class Out, class Fn>
void run_map_one(const In* x, Out* y, int64_t n, Queue& queue, Fn fn) {
  constexpr int kRun = kStretch<In, Out>;
  const int packed = aligned(x) && aligned(y);
  launch(map_one<In, Out, Fn>, {blocks_for((n + kRun - 1) / kRun), kThreads}, queue, x, y, n,
         packed, fn);
}

template <class T, class Fn>
void run_map_two(const T* a, const T* b, T* y, int64_t n, Queue& queue, Fn fn) {
  constexpr int kRun = Pack<T>::kSize;
  const int packed = aligned(a) && aligned(b) && aligned(y);
  launch(map_two<T, Fn>, {blocks_for((n + kRun - 1) / kRun), kThreads}, queue, a, b, y, n, packed,
         fn);
}

}  // namespace mopt::compute::cuda
