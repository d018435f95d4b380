#include <cmath>
#include <limits>

#include "host/compute/nll/nll.hpp"
#include "host/compute/parallel.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "host/compute/nll/nll_cpu.cpp"
#include "hwy/foreach_target.h"  // must come before simd-inl.hpp

#include "host/compute/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace mopt::compute::HWY_NAMESPACE {
#if MOPT_NO_LANES

void nll_simd(const NllProblem& p) {
  nll_reference(p);
}

#else

// Elements whose exponentials are added in fp32 before they join the sum in fp64.
constexpr int64_t kRun = 256;

// Calls fn(vector) for n elements; `fill` stands in for what is missing of the last one.
template <class T, class Fn>
HWY_INLINE void visit_row(const T* x, int64_t n, float fill, Fn fn) {
  const int64_t step = ln::lanes(), whole = n / step * step;
  for (int64_t i = 0; i < whole; i += step)
    fn(load(x + i));
  if (whole == n) return;
  float rest[16];
  std::fill(rest, rest + 16, fill);
  for (int64_t i = whole; i < n; ++i)
    rest[i - whole] = to_float(x[i]);
  fn(load(rest));
}

template <class T>
double row(const T* x, int64_t v, int64_t target) {
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  // Max may lose a NaN.
  F most = ln::all(kLowest), doubt = ln::all(0.0f);
  visit_row(x, v, kLowest, [&](F a) {
    most = hn::Max(most, a);
    doubt = hn::IfThenElse(hn::IsNaN(a), a, doubt);
  });
  const float max = max_of(most), nan = sum_of(doubt);
  if (std::isnan(nan)) return nan;
  double sum = 0.0;
  for (int64_t begin = 0; begin < v; begin += kRun) {
    F part = ln::all(0.0f);
    visit_row(x + begin, std::min(kRun, v - begin), kLowest,
              [&](F a) { part = hn::Add(part, exp(hn::Sub(a, ln::all(max)))); });
    sum += sum_of(part);
  }
  return std::log(sum) + (double{max} - to_float(x[target]));
}

void nll_simd(const NllProblem& p) {
  const int64_t v = p.logits.columns();
  by_dtype("nll", p.logits, [&]<class T>(T*) {
    for_each(p.logits.rows(), 1, [&](int64_t r, int64_t) {
      p.result[r] = row(p.logits.as<T>() + r * v, v, p.targets[static_cast<size_t>(r)]);
    });
  });
}

#endif
}  // namespace mopt::compute::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mopt::compute {

HWY_EXPORT(nll_simd);

void nll_highway(const NllProblem& p) {
  HWY_DYNAMIC_DISPATCH(nll_simd)(p);
}

}  // namespace mopt::compute
#endif
