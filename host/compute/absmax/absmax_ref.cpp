#include <cmath>

#include "host/compute/absmax/absmax.hpp"

namespace mopt::compute {

void absmax_reference(const AbsMaxProblem& p) {
  visit(Reals{p.x.data, real_type(p.x.dtype)}, [&](const auto* x) {
    for (int64_t i = 0; i < p.x.elements(); ++i) {
      const float value = to_float(x[i]);
      if (std::isfinite(value)) {
        p.result->value = std::max(p.result->value, std::fabs(value));
      } else if (p.result->first_not_finite < 0) {
        p.result->first_not_finite = i;
      }
    }
  });
}

}  // namespace mopt::compute
