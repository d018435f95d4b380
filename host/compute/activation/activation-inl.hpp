// The functions of activations for the Highway kernels. A "-inl" header: included once per
// instruction set, inside the foreach_target loop of a kernel file.
#if defined(MOPT_COMPUTE_ACTIVATION_INL) == defined(HWY_TARGET_TOGGLE)
#  ifdef MOPT_COMPUTE_ACTIVATION_INL
#    undef MOPT_COMPUTE_ACTIVATION_INL
#  else
#    define MOPT_COMPUTE_ACTIVATION_INL
#  endif

#  include "host/compute/activation/activation.hpp"
#  include "host/compute/simd-inl.hpp"

#  if !MOPT_NO_LANES
HWY_BEFORE_NAMESPACE();
namespace mopt::compute::HWY_NAMESPACE {

// x / (1 + exp(-x)). Beyond 104 the exponential is infinite in fp32, and Highway's undefined.
HWY_INLINE F silu(F x, F exponent) {
  const F e = exp(hn::Min(hn::Neg(exponent), ln::all(104.0f)));
  return hn::Div(x, hn::Add(ln::all(1.0f), e));
}

// erf within 1 ulp: N. Juffa's minimax polynomials, one around 0, one for the logarithm of 1 - erf.
HWY_INLINE F erf(F x) {
  const F t = hn::Abs(x), s = hn::Mul(x, x);
  const auto step = [](F r, F by, float c) { return hn::MulAdd(r, by, ln::all(c)); };
  F r = step(ln::all(-1.72853470e-5f), t, 3.83197126e-4f);
  const F u = step(ln::all(-3.88396438e-3f), t, 2.42546219e-2f);
  r = hn::MulAdd(r, s, u);
  r = step(r, t, -1.06777877e-1f);
  r = step(r, t, -6.34846687e-1f);
  r = step(r, t, -1.28717512e-1f);
  r = hn::MulAdd(r, t, hn::Neg(t));
  // From 4 on the result rounds to 1; the polynomial would grow again far out.
  const F large =
      hn::Sub(ln::all(1.0f), exp(hn::IfThenElse(hn::Gt(t, ln::all(4.0f)), ln::all(-100.0f), r)));
  F q = step(ln::all(-5.96761703e-4f), s, 4.99119423e-3f);
  q = step(q, s, -2.67681349e-2f);
  q = step(q, s, 1.12819925e-1f);
  q = step(q, s, -3.76125336e-1f);
  q = step(q, s, 1.28379166e-1f);
  q = hn::MulAdd(q, x, x);
  return hn::IfThenElse(hn::Gt(t, ln::all(0.927734375f)), hn::CopySign(large, x), q);
}

HWY_INLINE F gelu(F x) {
  const F e = erf(hn::Mul(x, ln::all(0.70710678118654752440f)));
  return hn::Mul(hn::Mul(ln::all(0.5f), x), hn::Add(ln::all(1.0f), e));
}

// 0.5 x (1 + tanh(u)) = x / (1 + exp(-2u)) with u = sqrt(2 / pi) (x + 0.044715 x^3).
HWY_INLINE F gelu_tanh(F x) {
  const F cubed = hn::Mul(hn::Mul(x, x), hn::Mul(x, ln::all(0.044715f)));
  return silu(x, hn::Mul(hn::Add(x, cubed), ln::all(2.0f * 0.79788456080286535588f)));
}

HWY_INLINE F relu(F x) {
  return hn::IfThenZeroElse(hn::Lt(x, ln::all(0.0f)), x);
}

// Calls fn with the function of a kind.
template <class Fn>
HWY_INLINE void with_activation(Activation kind, const Fn& fn) {
  switch (kind) {
    case Activation::kSilu:
      return fn([](F v) { return silu(v, v); });
    case Activation::kGelu:
      return fn([](F v) { return gelu(v); });
    case Activation::kGeluTanh:
      return fn([](F v) { return gelu_tanh(v); });
    case Activation::kRelu:
      return fn([](F v) { return relu(v); });
  }
}

}  // namespace mopt::compute::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#  endif

#endif
