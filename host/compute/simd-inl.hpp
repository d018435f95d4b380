// Loops over whole vectors and what is left, for the Highway kernels. A "-inl" header: included
// once per instruction set, inside the foreach_target loop of a kernel file.
#if defined(MOPT_COMPUTE_SIMD_INL) == defined(HWY_TARGET_TOGGLE)
#  ifdef MOPT_COMPUTE_SIMD_INL
#    undef MOPT_COMPUTE_SIMD_INL
#  else
#    define MOPT_COMPUTE_SIMD_INL
#  endif

#  include <algorithm>

#  include "hwy/contrib/math/math-inl.h"
#  include "hwy/highway.h"
#  include "mopt/numeric/lanes-inl.hpp"

#  if !MOPT_NO_LANES
HWY_BEFORE_NAMESPACE();
namespace mopt::compute::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
namespace ln = mopt::HWY_NAMESPACE;
using ln::F;
using ln::W;

// ---- lanes() consecutive elements, in order
// ------------------------------------------------------

HWY_INLINE F load(const float* p) {
  return hn::LoadU(ln::Floats(), p);
}
HWY_INLINE F load(const Bf16* p) {
  const auto halves = hn::LoadU(ln::Halves(), &p->bits);
  return ln::floats(hn::ShiftLeft<16>(hn::PromoteTo(ln::Words(), halves)));
}
HWY_INLINE F load(const F16* p) {
  using HalfFloats = hn::Rebind<hwy::float16_t, ln::Floats>;
  return hn::PromoteTo(ln::Floats(),
                       hn::LoadU(HalfFloats(), reinterpret_cast<const hwy::float16_t*>(p)));
}
HWY_INLINE void store(F x, float* p) {
  hn::StoreU(x, ln::Floats(), p);
}
HWY_INLINE void store(F x, Bf16* p) {
  const W halves = hn::ShiftRight<16>(ln::bf16_bits(x));
  hn::StoreU(hn::TruncateTo(ln::Halves(), halves), ln::Halves(), &p->bits);
}
// Through the scalar rule: binary16 is never the type of a result in a hot loop.
HWY_INLINE void store(F x, F16* p) {
  HWY_ALIGN float buffer[16];
  hn::Store(x, ln::Floats(), buffer);
  for (int64_t i = 0; i < ln::lanes(); ++i)
    p[i].bits = fp16::encode(buffer[i]);
}

// y[i] = fn(x[i]) for n elements.
template <class X, class Y, class Fn>
HWY_INLINE void map(const X* x, int64_t n, Y* y, Fn fn) {
  const int64_t step = ln::lanes(), whole = n / step * step;
  for (int64_t i = 0; i < whole; i += step)
    store(fn(load(x + i)), y + i);
  if (whole == n) return;
  X in[16] = {};
  Y out[16];
  std::copy(x + whole, x + n, in);
  store(fn(load(in)), out);
  std::copy(out, out + (n - whole), y + whole);
}

// y[i] = fn(a[i], b[i]) for n elements.
template <class T, class Fn>
HWY_INLINE void map(const T* a, const T* b, int64_t n, T* y, Fn fn) {
  const int64_t step = ln::lanes(), whole = n / step * step;
  for (int64_t i = 0; i < whole; i += step)
    store(fn(load(a + i), load(b + i)), y + i);
  if (whole == n) return;
  T left[16] = {}, right[16] = {}, out[16];
  std::copy(a + whole, a + n, left);
  std::copy(b + whole, b + n, right);
  store(fn(load(left), load(right)), out);
  std::copy(out, out + (n - whole), y + whole);
}

HWY_INLINE float sum_of(F x) {
  return hn::GetLane(hn::SumOfLanes(ln::Floats(), x));
}
HWY_INLINE float max_of(F x) {
  return hn::GetLane(hn::MaxOfLanes(ln::Floats(), x));
}
// Highway's own turns NaN into 0.
HWY_INLINE F exp(F x) {
  return hn::IfThenElse(hn::IsNaN(x), x, hn::Exp(ln::Floats(), x));
}

}  // namespace mopt::compute::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#  endif

#endif
