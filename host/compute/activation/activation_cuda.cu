#include <array>

#include "host/compute/cuda/kernels.hpp"
#include "host/compute/cuda/map.cuh"

namespace mopt::compute::cuda {
namespace {

struct Silu {
  __device__ float operator()(float x) const { return x / (1.0f + expf(-x)); }
};
struct Gelu {
  __device__ float operator()(float x) const {
    return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
  }
};
struct GeluTanh {
  __device__ float operator()(float x) const {
    constexpr float kSlope = 0.79788456080286535588f;  // sqrt(2 / pi)
    return 0.5f * x * (1.0f + tanhf(kSlope * (x + 0.044715f * x * x * x)));
  }
};
struct Relu {
  __device__ float operator()(float x) const { return x < 0.0f ? 0.0f : x; }
};

template <class Fn>
void apply(const ActivationProblem& p, Queue& queue) {
  by_dtype("activation", p.x, [&]<class T>(T*) {
    run_map_one(static_cast<const T*>(p.x.data), p.y.as<T>(), p.x.elements(), queue, Fn());
  });
}

void run(const ActivationProblem& p, Queue& queue) {
  switch (p.kind) {
    case Activation::kSilu:
      return apply<Silu>(p, queue);
    case Activation::kGelu:
      return apply<Gelu>(p, queue);
    case Activation::kGeluTanh:
      return apply<GeluTanh>(p, queue);
    case Activation::kRelu:
      return apply<Relu>(p, queue);
  }
}

constexpr std::array kRows{DeviceKernel<ActivationProblem>{
    "activation.cuda", accept_any_on_device<ActivationProblem>, run}};

}  // namespace

DeviceRows<ActivationProblem> activation_rows() {
  return kRows;
}

}  // namespace mopt::compute::cuda
