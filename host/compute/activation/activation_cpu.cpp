#include "host/compute/activation/activation.hpp"
#include "host/compute/parallel.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "host/compute/activation/activation_cpu.cpp"
#include "hwy/foreach_target.h"  // must come before activation-inl.hpp

#include "host/compute/activation/activation-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace mopt::compute::HWY_NAMESPACE {
#if MOPT_NO_LANES

void activation_simd(const ActivationProblem& p) {
  activation_reference(p);
}

#else

// Elements of one task.
constexpr int64_t kChunk = 1 << 14;

template <class T>
void apply(Activation kind, const T* x, int64_t n, T* y) {
  with_activation(kind, [&](auto f) { map(x, n, y, f); });
}

void activation_simd(const ActivationProblem& p) {
  by_dtype("activation", p.x, [&]<class T>(T*) {
    for_each(p.x.elements(), kChunk, [&](int64_t begin, int64_t end) {
      apply(p.kind, p.x.as<T>() + begin, end - begin, p.y.as<T>() + begin);
    });
  });
}

#endif
}  // namespace mopt::compute::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mopt::compute {

HWY_EXPORT(activation_simd);

void activation_highway(const ActivationProblem& p) {
  HWY_DYNAMIC_DISPATCH(activation_simd)(p);
}

}  // namespace mopt::compute
#endif
