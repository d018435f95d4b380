#include "host/compute/range/range.hpp"

#include <algorithm>
#include <bit>

#include "host/compute/device_kernels.hpp"

namespace mopt::compute {

void range(const RangeProblem& p, const Options& options) {
  require(is_f32(p.x) || is_bf16(p.x) || same(p.x.dtype, kF16), "range", "f32, bf16 or f16", p.x);
  run_on_device(&DeviceKernels::range, p, options);
}

// The order of these words is that of the magnitudes; infinity and NaN lie above all others.
RangeFound range_of(std::span<const uint32_t> parts) {
  uint32_t most = 0;
  for (const uint32_t part : parts)
    most = std::max(most, part);
  return {std::bit_cast<float>(most), most != 0};
}

}  // namespace mopt::compute
