#include "host/compute/rope/rope.hpp"

#include "host/compute/device_kernels.hpp"
#include "host/compute/simd.hpp"

#include <array>

namespace mopt::compute {
namespace {

constexpr std::array kKernels{
    Kernel<RopeProblem>{"rope.highway", need_simd<RopeProblem>, rope_highway},
    Kernel<RopeProblem>{"rope.reference", accept_any<RopeProblem>, rope_reference},
};

}  // namespace

void rope(const RopeProblem& p, const Options& options) {
  require(p.x.ndim == 4 && (is_f32(p.x) || is_bf16(p.x)), "rope",
          "an input [B, T, H, D] in f32 or bf16", p.x);
  require(2 * p.angles->half <= p.x.shape[3], "rope",
          "heads of at least " + std::to_string(2 * p.angles->half), p.x);
  const int64_t positions = p.x.shape[0] * p.x.shape[1];
  require(static_cast<int64_t>(p.angles->cos.size()) == positions * p.angles->half, "rope",
          "as many positions as angles, " +
              std::to_string(p.angles->cos.size() /
                             static_cast<size_t>(std::max<int64_t>(1, p.angles->half))),
          p.x);
  require(p.y.elements() == p.x.elements() && same(p.y.dtype, p.x.dtype), "rope",
          "an output like " + text(p.x), p.y);
  run_on_cpu(kKernels, p, options);
}

void rope(const RopeLookup& p, const Options& options) {
  require(p.x.ndim == 4 && (is_f32(p.x) || is_bf16(p.x)), "rope",
          "an input [B, T, H, D] in f32 or bf16", p.x);
  require(p.cos.ndim == 2 && 2 * p.cos.columns() <= p.x.shape[3] && p.sin.shape == p.cos.shape,
          "rope", "angles of at most half of the heads of " + text(p.x), p.cos);
  require(p.positions.elements() == p.x.shape[0] * p.x.shape[1] && same(p.positions.dtype, kI64),
          "rope", "a position in i64 for each token of " + text(p.x), p.positions);
  require(p.y.elements() == p.x.elements() && same(p.y.dtype, p.x.dtype), "rope",
          "an output like " + text(p.x), p.y);
  run_on_device(&DeviceKernels::rope, p, options);
}

std::vector<std::string_view> rope_kernels() {
  return names(kKernels);
}

}  // namespace mopt::compute
