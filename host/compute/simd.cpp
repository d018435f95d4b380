#include "host/compute/simd.hpp"

#include <hwy/highway.h>

namespace mopt::compute {

bool has_simd() {
  return (hwy::SupportedTargets() & HWY_TARGETS & ~(HWY_SCALAR | HWY_EMU128)) != 0;
}

}  // namespace mopt::compute
