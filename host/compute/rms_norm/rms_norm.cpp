#include "host/compute/rms_norm/rms_norm.hpp"

#include "host/compute/device_kernels.hpp"
#include "host/compute/simd.hpp"

#include <array>

namespace mopt::compute {
namespace {

constexpr std::array kKernels{
    Kernel<RmsNormProblem>{"rms_norm.highway", need_simd<RmsNormProblem>, rms_norm_highway},
    Kernel<RmsNormProblem>{"rms_norm.reference", accept_any<RmsNormProblem>, rms_norm_reference},
};

}  // namespace

void rms_norm(const RmsNormProblem& p, const Options& options) {
  require(is_f32(p.x) || is_bf16(p.x), "rms_norm", "an input in f32 or bf16", p.x);
  require(
      p.weight.ndim == 1 && p.weight.shape[0] == p.x.columns() && same(p.weight.dtype, p.x.dtype),
      "rms_norm", "a weight for the last dimension of " + text(p.x), p.weight);
  require(p.y.elements() == p.x.elements() && p.y.columns() == p.x.columns() &&
              same(p.y.dtype, p.x.dtype),
          "rms_norm", "an output like " + text(p.x), p.y);
  if (options.queue != nullptr) return run_on_device(&DeviceKernels::rms_norm, p, options);
  require(p.range_parts == nullptr, "rms_norm", "no parts of a range on the CPU", p.y);
  run_on_cpu(kKernels, p, options);
}

std::vector<std::string_view> rms_norm_kernels() {
  return names(kKernels);
}

}  // namespace mopt::compute
