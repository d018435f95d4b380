// The functions of activations on a device, in fp32.
#pragma once

#include "host/compute/activation/activation.hpp"
#include "host/compute/cuda/launch.cuh"

namespace mopt::compute::cuda {

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

// Calls fn with the function of a kind.
template <class Fn>
void with_activation(Activation kind, const Fn& fn) {
  switch (kind) {
    case Activation::kSilu:
      return fn(Silu());
    case Activation::kGelu:
      return fn(Gelu());
    case Activation::kGeluTanh:
      return fn(GeluTanh());
    case Activation::kRelu:
      return fn(Relu());
  }
}

}  // namespace mopt::compute::cuda
