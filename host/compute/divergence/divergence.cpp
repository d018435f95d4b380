#include "host/compute/divergence/divergence.hpp"

#include "host/compute/device_kernels.hpp"

#include <array>

namespace mopt::compute {
namespace {

constexpr std::array kKernels{
    Kernel<DivergenceProblem>{"divergence.reference", accept_any<DivergenceProblem>,
                              divergence_reference},
};

}  // namespace

void divergence(const DivergenceProblem& p, const Options& options) {
  require(is_f32(p.ours) || is_bf16(p.ours), "divergence", "logits in f32 or bf16", p.ours);
  require(same(p.reference.dtype, p.ours.dtype) && p.reference.rows() == p.ours.rows() &&
              p.reference.columns() == p.ours.columns(),
          "divergence", "logits like " + text(p.ours), p.reference);
  require(same(p.result.dtype, kF64) && p.result.elements() == 2 * p.ours.rows(), "divergence",
          "two results in f64 for each row of " + text(p.ours), p.result);
  if (options.queue != nullptr) return run_on_device(&DeviceKernels::divergence, p, options);
  run_on_cpu(kKernels, p, options);
}

std::vector<std::string_view> divergence_kernels() {
  return names(kKernels);
}

}  // namespace mopt::compute
