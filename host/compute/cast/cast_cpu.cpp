#include "host/compute/cast/cast.hpp"
#include "host/compute/parallel.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "host/compute/cast/cast_cpu.cpp"
#include "hwy/foreach_target.h"  // must come before simd-inl.hpp

#include "host/compute/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace mopt::compute::HWY_NAMESPACE {
#if MOPT_NO_LANES

void cast_simd(const CastProblem& p) {
  cast_reference(p);
}

#else

// Elements of one task.
constexpr int64_t kChunk = 1 << 16;

// In hardware, rounded to nearest even; lanes-inl.hpp stores a binary16 through the scalar rule.
void to_f16(const float* x, int64_t n, F16* y) {
  using HalfFloats = hn::Rebind<hwy::float16_t, ln::Floats>;
  const int64_t step = ln::lanes(), whole = n / step * step;
  for (int64_t i = 0; i < whole; i += step) {
    hn::StoreU(hn::DemoteTo(HalfFloats(), load(x + i)), HalfFloats(),
               reinterpret_cast<hwy::float16_t*>(y + i));
  }
  for (int64_t i = whole; i < n; ++i)
    put(x[i], y[i]);
}

// As bf16::encode, every NaN included: the store of lanes-inl.hpp leaves those aside, and here
// weights pass through from files that nobody has checked.
void to_bf16(const float* x, int64_t n, Bf16* y) {
  const int64_t step = ln::lanes(), whole = n / step * step;
  for (int64_t i = 0; i < whole; i += step) {
    const F v = load(x + i);
    const ln::W quiet = hn::Or(ln::bits(v), ln::all_words(0x400000));
    const auto nan = hn::RebindMask(ln::Words(), hn::IsNaN(v));
    const ln::W halves = hn::ShiftRight<16>(hn::IfThenElse(nan, quiet, ln::bf16_bits(v)));
    hn::StoreU(hn::TruncateTo(ln::Halves(), halves), ln::Halves(), &y[i].bits);
  }
  for (int64_t i = whole; i < n; ++i)
    put(x[i], y[i]);
}

template <class X, class Y>
void convert(const X* x, int64_t n, Y* y) {
  map(x, n, y, [](F v) { return v; });
}
void convert(const float* x, int64_t n, F16* y) {
  to_f16(x, n, y);
}
void convert(const float* x, int64_t n, Bf16* y) {
  to_bf16(x, n, y);
}

void cast_simd(const CastProblem& p) {
  for_each(p.x.elements(), kChunk, [&](int64_t begin, int64_t end) {
    visit(offset(Reals{p.x.data, real_type(p.x.dtype)}, begin), [&](const auto* x) {
      visit(RealsOut{p.y.data, real_type(p.y.dtype)},
            [&](auto* y) { convert(x, end - begin, y + begin); });
    });
  });
}

#endif
}  // namespace mopt::compute::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mopt::compute {

HWY_EXPORT(cast_simd);

void cast_highway(const CastProblem& p) {
  HWY_DYNAMIC_DISPATCH(cast_simd)(p);
}

}  // namespace mopt::compute
#endif
