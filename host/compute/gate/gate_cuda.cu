#include <array>

#include "host/compute/activation/activation.cuh"
#include "host/compute/cuda/kernels.hpp"
#include "host/compute/range/range.cuh"

namespace mopt::compute::cuda {
namespace {

template <class T>
struct Gated {
  const T *x, *up;
  T* y;
  int64_t n;
  int packed;       // all pointers are aligned to 16 bytes
  uint32_t* parts;  // of y's range; may be null
};

// A thread makes one pack of elements. All threads stay to the end, where warps come together.
template <class T, class Fn>
__global__ void multiply_activated(Gated<T> p, Fn f) {
  constexpr int kRun = Pack<T>::kSize;
  const int64_t first = global_thread() * kRun;
  uint32_t most = 0;
  if (p.packed != 0 && first + kRun <= p.n) {
    float run[kRun], by[kRun];
    load_pack(p.x + first, run);
    load_pack(p.up + first, by);
    for (float& value : run)
      value = f(value);
    round_all<T>(run);
    for (int i = 0; i < kRun; ++i) {
      run[i] *= by[i];
      most = max(most, magnitude(run[i]));
    }
    store_pack(run, p.y + first);
  } else {
    for (int64_t i = first; i < p.n && i < first + kRun; ++i) {
      const float value = round_to<T>(f(to_float(p.x[i]))) * to_float(p.up[i]);
      most = max(most, magnitude(value));
      put(value, p.y[i]);
    }
  }
  if (p.parts != nullptr) raise_part<T>(most, p.parts);
}

void run(const GateProblem& p, Queue& queue) {
  by_dtype("gate", p.x, [&]<class T>(T*) {
    const int64_t n = p.x.elements(), packs = (n + Pack<T>::kSize - 1) / Pack<T>::kSize;
    const int packed = aligned(p.x.data) && aligned(p.up.data) && aligned(p.y.data);
    with_activation(p.kind, [&]<class Fn>(Fn f) {
      launch(multiply_activated<T, Fn>, {blocks_for(packs), kThreads}, queue,
             Gated<T>{static_cast<const T*>(p.x.data), static_cast<const T*>(p.up.data),
                      p.y.as<T>(), n, packed, p.range_parts},
             f);
    });
  });
}

constexpr std::array kRows{
    DeviceKernel<GateProblem>{"gate.cuda", accept_any_on_device<GateProblem>, run}};

}  // namespace

DeviceRows<GateProblem> gate_rows() {
  return kRows;
}

}  // namespace mopt::compute::cuda
