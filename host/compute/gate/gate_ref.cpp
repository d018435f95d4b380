#include "host/compute/gate/gate.hpp"
#include "host/compute/parallel.hpp"

namespace mopt::compute {

void gate_reference(const GateProblem& p) {
  by_dtype("gate", p.x, [&]<class T>(T*) {
    for_each(p.x.elements(), 1 << 14, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const float f = round_to<T>(activated(p.kind, to_float(p.x.as<T>()[i])));
        put(f * to_float(p.up.as<T>()[i]), p.y.as<T>()[i]);
      }
    });
  });
}

}  // namespace mopt::compute
