#include "host/compute/nll/nll.hpp"

#include "host/compute/device_kernels.hpp"
#include "host/compute/simd.hpp"

#include <array>

namespace mopt::compute {
namespace {

constexpr std::array kKernels{
    Kernel<NllProblem>{"nll.highway", need_simd<NllProblem>, nll_highway},
    Kernel<NllProblem>{"nll.reference", accept_any<NllProblem>, nll_reference},
};

}  // namespace

std::vector<double> nll(const View& logits, std::span<const int64_t> targets,
                        const Options& options) {
  require(is_f32(logits) || is_bf16(logits), "nll", "logits in f32 or bf16", logits);
  require(logits.rows() == static_cast<int64_t>(targets.size()), "nll",
          "logits of " + std::to_string(targets.size()) + " rows", logits);
  for (const int64_t target : targets) {
    if (target >= 0 && target < logits.columns()) continue;
    bad_operands("nll", "expected targets from 0 to " + std::to_string(logits.columns() - 1) +
                            ", found " + std::to_string(target));
  }
  std::vector<double> result(targets.size());
  const NllProblem problem{logits, targets, result.data()};
  run_on_cpu(kKernels, problem, options);
  return result;
}

void nll(const NllOnDevice& p, const Options& options) {
  require(is_f32(p.logits) || is_bf16(p.logits), "nll", "logits in f32 or bf16", p.logits);
  require(p.targets.elements() == p.logits.rows() && same(p.targets.dtype, kI64), "nll",
          "a target in i64 for each row of " + text(p.logits), p.targets);
  require(p.result.elements() == p.logits.rows() && same(p.result.dtype, kF64), "nll",
          "a result in f64 for each row of " + text(p.logits), p.result);
  run_on_device(&DeviceKernels::nll, p, options);
}

std::vector<std::string_view> nll_kernels() {
  return names(kKernels);
}

}  // namespace mopt::compute
