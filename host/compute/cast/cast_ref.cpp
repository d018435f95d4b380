#include "host/compute/cast/cast.hpp"
#include "host/compute/parallel.hpp"

namespace mopt::compute {

void cast_reference(const CastProblem& p) {
  for_each(p.x.elements(), 1 << 14, [&](int64_t begin, int64_t end) {
    visit(Reals{p.x.data, real_type(p.x.dtype)}, [&](const auto* x) {
      visit(RealsOut{p.y.data, real_type(p.y.dtype)}, [&](auto* y) {
        for (int64_t i = begin; i < end; ++i)
          put(to_float(x[i]), y[i]);
      });
    });
  });
}

}  // namespace mopt::compute
