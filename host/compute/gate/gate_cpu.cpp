#include "host/compute/gate/gate.hpp"
#include "host/compute/parallel.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "host/compute/gate/gate_cpu.cpp"
#include "hwy/foreach_target.h"  // must come before activation-inl.hpp

#include "host/compute/activation/activation-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace mopt::compute::HWY_NAMESPACE {
#if MOPT_NO_LANES

void gate_simd(const GateProblem& p) {
  gate_reference(p);
}

#else

// Elements of one task.
constexpr int64_t kChunk = 1 << 14;

template <class T>
void apply(const GateProblem& p, int64_t begin, int64_t n) {
  const T *x = p.x.as<T>() + begin, *up = p.up.as<T>() + begin;
  with_activation(p.kind, [&](auto f) {
    map(x, up, n, p.y.as<T>() + begin,
        [&](F v, F by) { return hn::Mul(ln::round_as(f(v), x), by); });
  });
}

void gate_simd(const GateProblem& p) {
  by_dtype("gate", p.x, [&]<class T>(T*) {
    for_each(p.x.elements(), kChunk,
             [&](int64_t begin, int64_t end) { apply<T>(p, begin, end - begin); });
  });
}

#endif
}  // namespace mopt::compute::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mopt::compute {

HWY_EXPORT(gate_simd);

void gate_highway(const GateProblem& p) {
  HWY_DYNAMIC_DISPATCH(gate_simd)(p);
}

}  // namespace mopt::compute
#endif
