#include <cmath>

#include "host/compute/absmax/absmax.hpp"
#include "host/compute/cast/half.hpp"

namespace mopt::compute {

void absmax_reference(const AbsMaxProblem& p) {
  for (int64_t i = 0; i < p.x.elements(); ++i) {
    const float x = is_f32(p.x)    ? p.x.as<float>()[i]
                    : is_bf16(p.x) ? bf16::decode(p.x.as<uint16_t>()[i])
                                   : half::decode(p.x.as<uint16_t>()[i]);
    if (std::isfinite(x)) {
      p.result->value = std::max(p.result->value, std::fabs(x));
    } else if (p.result->first_not_finite < 0) {
      p.result->first_not_finite = i;
    }
  }
}

}  // namespace mopt::compute
