#include <array>

#include "host/compute/cuda/kernels.hpp"
#include "host/compute/cuda/map.cuh"

namespace mopt::compute::cuda {
namespace {

struct Add {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct Mul {
  __device__ float operator()(float a, float b) const { return a * b; }
};

void run(const ElementwiseProblem& p, Queue& queue) {
  by_dtype("elementwise", p.a, [&]<class T>(T*) {
    const auto *a = static_cast<const T*>(p.a.data), *b = static_cast<const T*>(p.b.data);
    if (p.kind == Elementwise::kAdd) {
      run_map_two(a, b, p.y.as<T>(), p.a.elements(), queue, Add());
    } else {
      run_map_two(a, b, p.y.as<T>(), p.a.elements(), queue, Mul());
    }
  });
}

constexpr std::array kRows{DeviceKernel<ElementwiseProblem>{
    "elementwise.cuda", accept_any_on_device<ElementwiseProblem>, run}};

}  // namespace

DeviceRows<ElementwiseProblem> elementwise_rows() {
  return kRows;
}

}  // namespace mopt::compute::cuda
