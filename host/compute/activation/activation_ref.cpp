#include <cmath>
#include <numbers>

#include "host/compute/activation/activation.hpp"
#include "host/compute/parallel.hpp"

namespace mopt::compute {

float activated(Activation kind, float x) {
  switch (kind) {
    case Activation::kSilu:
      return x / (1.0f + std::exp(-x));
    case Activation::kGelu:
      return 0.5f * x * (1.0f + std::erf(x * (std::numbers::sqrt2_v<float> / 2)));
    case Activation::kGeluTanh: {
      // sqrt(2 / pi)
      constexpr float kSlope = 0.79788456080286535588f;
      return 0.5f * x * (1.0f + std::tanh(kSlope * (x + 0.044715f * x * x * x)));
    }
    case Activation::kRelu:
      return x < 0.0f ? 0.0f : x;
  }
  return x;
}

void activation_reference(const ActivationProblem& p) {
  by_dtype("activation", p.x, [&]<class T>(T*) {
    for_each(p.x.elements(), 1 << 14, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        put(activated(p.kind, to_float(p.x.as<T>()[i])), p.y.as<T>()[i]);
      }
    });
  });
}

}  // namespace mopt::compute
