#include "host/compute/elementwise/elementwise.hpp"
#include "host/compute/parallel.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "host/compute/elementwise/elementwise_cpu.cpp"
#include "hwy/foreach_target.h"  // must come before simd-inl.hpp

#include "host/compute/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace mopt::compute::HWY_NAMESPACE {
#if MOPT_NO_LANES

void elementwise_simd(const ElementwiseProblem& p) {
  elementwise_reference(p);
}

#else

// Elements of one task.
constexpr int64_t kChunk = 1 << 16;

template <class T>
void apply(const ElementwiseProblem& p, int64_t begin, int64_t n) {
  const T *a = p.a.as<T>() + begin, *b = p.b.as<T>() + begin;
  T* y = p.y.as<T>() + begin;
  if (p.kind == Elementwise::kAdd) {
    map(a, b, n, y, [](F u, F v) { return hn::Add(u, v); });
  } else {
    map(a, b, n, y, [](F u, F v) { return hn::Mul(u, v); });
  }
}

void elementwise_simd(const ElementwiseProblem& p) {
  by_dtype("elementwise", p.a, [&]<class T>(T*) {
    for_each(p.a.elements(), kChunk,
             [&](int64_t begin, int64_t end) { apply<T>(p, begin, end - begin); });
  });
}

#endif
}  // namespace mopt::compute::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mopt::compute {

HWY_EXPORT(elementwise_simd);

void elementwise_highway(const ElementwiseProblem& p) {
  HWY_DYNAMIC_DISPATCH(elementwise_simd)(p);
}

}  // namespace mopt::compute
#endif
