#include <cmath>

#include "host/compute/parallel.hpp"
#include "host/compute/rms_norm/rms_norm.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "host/compute/rms_norm/rms_norm_cpu.cpp"
#include "hwy/foreach_target.h"  // must come before simd-inl.hpp

#include "host/compute/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace mopt::compute::HWY_NAMESPACE {
#if MOPT_NO_LANES

void rms_norm_simd(const RmsNormProblem& p) {
  rms_norm_reference(p);
}

#else

// Elements of one task, about.
constexpr int64_t kChunk = 1 << 14;

// The sum of squares in four vectors, so that additions do not wait for each other; the order
// depends on the vector's length only.
template <class T>
float sum_of_squares(const T* x, int64_t n) {
  const int64_t step = ln::lanes();
  F sum[4] = {ln::all(0.0f), ln::all(0.0f), ln::all(0.0f), ln::all(0.0f)};
  int64_t i = 0;
  for (; i + 4 * step <= n; i += 4 * step) {
    for (int64_t k = 0; k < 4; ++k) {
      const F v = load(x + i + k * step);
      sum[k] = hn::MulAdd(v, v, sum[k]);
    }
  }
  for (; i < n; i += step) {
    T rest[16] = {};
    std::copy(x + i, x + std::min(i + step, n), rest);
    const F v = load(rest);
    sum[0] = hn::MulAdd(v, v, sum[0]);
  }
  return sum_of(hn::Add(hn::Add(sum[0], sum[1]), hn::Add(sum[2], sum[3])));
}

template <class T>
void norm_row(const RmsNormProblem& p, int64_t r) {
  const int64_t c = p.x.columns();
  const T* x = p.x.as<T>() + r * c;
  const float mean = sum_of_squares(x, c) / static_cast<float>(c);
  const F scale = ln::all(1.0f / std::sqrt(mean + p.eps));
  map(x, p.weight.as<T>(), c, p.y.as<T>() + r * c,
      [&](F v, F weight) { return hn::Mul(ln::round_as(hn::Mul(v, scale), x), weight); });
}

void rms_norm_simd(const RmsNormProblem& p) {
  by_dtype("rms_norm", p.x, [&]<class T>(T*) {
    for_each(p.x.rows(), kChunk / p.x.columns() + 1, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r)
        norm_row<T>(p, r);
    });
  });
}

#endif
}  // namespace mopt::compute::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mopt::compute {

HWY_EXPORT(rms_norm_simd);

void rms_norm_highway(const RmsNormProblem& p) {
  HWY_DYNAMIC_DISPATCH(rms_norm_simd)(p);
}

}  // namespace mopt::compute
#endif
