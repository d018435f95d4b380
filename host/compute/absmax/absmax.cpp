#include "host/compute/absmax/absmax.hpp"

#include "host/compute/simd.hpp"

#include <array>

namespace mopt::compute {
namespace {

constexpr std::array kKernels{
    Kernel<AbsMaxProblem>{"absmax.highway", need_simd<AbsMaxProblem>, absmax_highway},
    Kernel<AbsMaxProblem>{"absmax.reference", accept_any<AbsMaxProblem>, absmax_reference},
};

}  // namespace

AbsMax absmax(const View& x, const Options& options) {
  require(is_f32(x) || is_bf16(x) || same(x.dtype, kF16), "absmax", "f32, bf16 or f16", x);
  AbsMax result;
  const AbsMaxProblem problem{x, &result};
  run_on_cpu(kKernels, problem, options);
  return result;
}

std::vector<std::string_view> absmax_kernels() {
  return names(kKernels);
}

}  // namespace mopt::compute
