#include "host/compute/cast/cast.hpp"

#include "host/compute/device_kernels.hpp"
#include "host/compute/simd.hpp"

#include <array>

namespace mopt::compute {
namespace {

constexpr std::array kKernels{
    Kernel<CastProblem>{"cast.highway", need_simd<CastProblem>, cast_highway},
    Kernel<CastProblem>{"cast.reference", accept_any<CastProblem>, cast_reference},
};

bool castable(const View& v) {
  return is_f32(v) || is_bf16(v) || same(v.dtype, kF16);
}

}  // namespace

void cast(const View& x, const View& y, const Options& options) {
  require(castable(x), "cast", "f32, bf16 or f16", x);
  require(castable(y) && y.elements() == x.elements(), "cast",
          "f32, bf16 or f16 with the elements of " + text(x), y);
  const CastProblem problem{x, y};
  if (options.queue != nullptr) return run_on_device(&DeviceKernels::cast, problem, options);
  run_on_cpu(kKernels, problem, options);
}

std::vector<std::string_view> cast_kernels() {
  return names(kKernels);
}

}  // namespace mopt::compute
