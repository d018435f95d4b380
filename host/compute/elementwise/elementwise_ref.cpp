#include "host/compute/elementwise/elementwise.hpp"
#include "host/compute/parallel.hpp"

namespace mopt::compute {

void elementwise_reference(const ElementwiseProblem& p) {
  by_dtype("elementwise", p.a, [&]<class T>(T*) {
    for_each(p.a.elements(), 1 << 14, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const float a = to_float(p.a.as<T>()[i]), b = to_float(p.b.as<T>()[i]);
        put(p.kind == Elementwise::kAdd ? a + b : a * b, p.y.as<T>()[i]);
      }
    });
  });
}

}  // namespace mopt::compute
