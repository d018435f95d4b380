#include "host/compute/parallel.hpp"
#include "host/compute/rope/rope.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "host/compute/rope/rope_cpu.cpp"
#include "hwy/foreach_target.h"  // must come before simd-inl.hpp

#include "host/compute/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace mopt::compute::HWY_NAMESPACE {
#if MOPT_NO_LANES

void rope_simd(const RopeProblem& p) {
  rope_reference(p);
}

#else

// Elements of one task, about.
constexpr int64_t kChunk = 1 << 14;

// One head: x and y of d elements, cos and sin of half elements. y may be x.
template <class T>
void rotate(const T* x, const float* cos, const float* sin, int64_t half, int64_t d, T* y) {
  int64_t i = 0;
  for (; i + ln::lanes() <= half; i += ln::lanes()) {
    const F low = load(x + i), high = load(x + i + half);
    const F c = load(cos + i), s = load(sin + i);
    const auto product = [&](F a, F b) { return ln::round_as(hn::Mul(a, b), x); };
    store(hn::Sub(product(low, c), product(high, s)), y + i);
    store(hn::Add(product(high, c), product(low, s)), y + i + half);
  }
  for (; i < half; ++i) {
    const float low = to_float(x[i]), high = to_float(x[i + half]);
    put(round_to<T>(low * cos[i]) - round_to<T>(high * sin[i]), y[i]);
    put(round_to<T>(high * cos[i]) + round_to<T>(low * sin[i]), y[i + half]);
  }
  if (x != y) std::copy(x + 2 * half, x + d, y + 2 * half);
}

void rope_simd(const RopeProblem& p) {
  const int64_t heads = p.x.shape[2], d = p.x.shape[3], half = p.angles->half;
  by_dtype("rope", p.x, [&]<class T>(T*) {
    const int64_t positions = p.x.shape[0] * p.x.shape[1];
    for_each(positions, kChunk / (heads * d) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * heads; i < end * heads; ++i) {
        const int64_t at = i / heads * half;
        rotate(p.x.as<T>() + i * d, p.angles->cos.data() + at, p.angles->sin.data() + at, half, d,
               p.y.as<T>() + i * d);
      }
    });
  });
}

#endif
}  // namespace mopt::compute::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mopt::compute {

HWY_EXPORT(rope_simd);

void rope_highway(const RopeProblem& p) {
  HWY_DYNAMIC_DISPATCH(rope_simd)(p);
}

}  // namespace mopt::compute
#endif
