#include "host/compute/activation/activation.hpp"

#include "host/compute/device_kernels.hpp"
#include "host/compute/simd.hpp"

#include <array>

namespace mopt::compute {
namespace {

constexpr std::array kKernels{
    Kernel<ActivationProblem>{"activation.highway", need_simd<ActivationProblem>,
                              activation_highway},
    Kernel<ActivationProblem>{"activation.reference", accept_any<ActivationProblem>,
                              activation_reference},
};

}  // namespace

Activation activation_kind(std::string_view name) {
  if (name == "silu") return Activation::kSilu;
  if (name == "gelu") return Activation::kGelu;
  if (name == "gelu_tanh") return Activation::kGeluTanh;
  if (name == "relu") return Activation::kRelu;
  throw Error(MOPT_UNSUPPORTED, "expected the activation silu, gelu, gelu_tanh or relu, found '" +
                                    std::string(name) + "'");
}

void activation(const ActivationProblem& p, const Options& options) {
  require(is_f32(p.x) || is_bf16(p.x), "activation", "an input in f32 or bf16", p.x);
  require(p.y.elements() == p.x.elements() && same(p.y.dtype, p.x.dtype), "activation",
          "an output like " + text(p.x), p.y);
  if (options.queue != nullptr) return run_on_device(&DeviceKernels::activation, p, options);
  run_on_cpu(kKernels, p, options);
}

std::vector<std::string_view> activation_kernels() {
  return names(kKernels);
}

}  // namespace mopt::compute
