// The element conversions over Highway vectors. A "-inl" header in Highway's sense: it is included
// once per instruction set, inside the foreach_target loop of a kernel file, after highway.h. Bit
// for bit the scalar functions of this folder; whoever uses it needs Highway.
#if defined(MOPT_NUMERIC_LANES_INL) == defined(HWY_TARGET_TOGGLE)
#  ifdef MOPT_NUMERIC_LANES_INL
#    undef MOPT_NUMERIC_LANES_INL
#  else
#    define MOPT_NUMERIC_LANES_INL
#  endif

#  include "hwy/highway.h"
#  include "mopt/numeric/e4m3.hpp"
#  include "mopt/numeric/reals.hpp"

// The portable targets have no use for vectors; kernels give them their reference.
#  if HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128
HWY_BEFORE_NAMESPACE();
namespace mopt::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// At most 16 lanes, so that a block of 16 is a whole number of vectors.
using Floats = hn::CappedTag<float, 16>;
using Words = hn::Rebind<uint32_t, Floats>;
using Halves = hn::Rebind<uint16_t, Floats>;
using Bytes = hn::Rebind<uint8_t, Floats>;
using F = hn::Vec<Floats>;
using W = hn::Vec<Words>;

HWY_INLINE int64_t lanes() {
  return static_cast<int64_t>(hn::Lanes(Floats()));
}
HWY_INLINE F all(float x) {
  return hn::Set(Floats(), x);
}
HWY_INLINE W all_words(uint32_t x) {
  return hn::Set(Words(), x);
}
HWY_INLINE W bits(F x) {
  return hn::BitCast(Words(), x);
}
HWY_INLINE F floats(W x) {
  return hn::BitCast(Floats(), x);
}
HWY_INLINE W select(hn::Mask<Floats> mask, W yes, W no) {
  return hn::IfThenElse(hn::RebindMask(Words(), mask), yes, no);
}

// ---- memory ----------------------------------------------------------------------------------

HWY_INLINE F load(const float* p) {
  return hn::LoadU(Floats(), p);
}
HWY_INLINE F load(const Bf16* p) {
  const auto halves = hn::LoadU(Halves(), &p->bits);
  return floats(hn::ShiftLeft<16>(hn::PromoteTo(Words(), halves)));
}
HWY_INLINE F load(const F16* p) {
  using HalfFloats = hn::Rebind<hwy::float16_t, Floats>;
  return hn::PromoteTo(Floats(),
                       hn::LoadU(HalfFloats(), reinterpret_cast<const hwy::float16_t*>(p)));
}
HWY_INLINE W load_bytes(const uint8_t* p) {
  return hn::PromoteTo(Words(), hn::LoadU(Bytes(), p));
}
// The low byte of every lane.
HWY_INLINE void store_bytes(W x, uint8_t* p) {
  hn::StoreU(hn::TruncateTo(Bytes(), x), Bytes(), p);
}

// The bits of x rounded to bfloat16, in the upper half.
HWY_INLINE W bf16_bits(F x) {
  const W raw = bits(x);
  const W odd = hn::And(hn::ShiftRight<16>(raw), all_words(1));
  const W rounded = hn::Add(raw, hn::Add(odd, all_words(0x7FFF)));
  const W value = select(hn::IsNaN(x), hn::Or(raw, all_words(0x400000)), rounded);
  return hn::And(value, all_words(0xFFFF0000));
}
HWY_INLINE void store(F x, float* p) {
  hn::StoreU(x, Floats(), p);
}
HWY_INLINE void store(F x, Bf16* p) {
  const W halves = hn::ShiftRight<16>(bf16_bits(x));
  hn::StoreU(hn::TruncateTo(Halves(), halves), Halves(), &p->bits);
}
// Through the scalar rule: binary16 is never the type of a result in a hot loop.
HWY_INLINE void store(F x, F16* p) {
  HWY_ALIGN float buffer[16];
  hn::Store(x, Floats(), buffer);
  for (int64_t i = 0; i < lanes(); ++i)
    p[i].bits = fp16::encode(buffer[i]);
}

// ---- rounding to the type of the source ------------------------------------------------------

HWY_INLINE F round_as(F x, const float*) {
  return x;
}
HWY_INLINE F round_as(F x, const Bf16*) {
  return floats(bf16_bits(x));
}
// For |x| < 65520, which a quotient by absmax / 448 is.
HWY_INLINE F round_as(F x, const F16*) {
  const F a = hn::Abs(x);
  const W raw = bits(a);
  const W odd = hn::And(hn::ShiftRight<13>(raw), all_words(1));
  const W normal = hn::And(hn::Add(raw, hn::Add(odd, all_words(0xFFF))), all_words(0xFFFFE000));
  const F tiny = hn::Sub(hn::Add(a, all(0.5f)), all(0.5f));
  return hn::CopySign(hn::IfThenElse(hn::Lt(a, all(fp16::kMinNormal)), tiny, floats(normal)), x);
}

// ---- E4M3 ------------------------------------------------------------------------------------

// e4m3::encode.
HWY_INLINE W encode_e4m3(F x) {
  const F a = hn::Abs(x);
  const W raw = bits(a);
  const W odd = hn::And(hn::ShiftRight<20>(raw), all_words(1));
  const W rounded = hn::Add(raw, hn::Add(odd, all_words(0x7FFFF)));
  const W normal = hn::Sub(hn::ShiftRight<20>(rounded), all_words(120 << 3));
  const W tiny = hn::Sub(bits(hn::Add(a, all(0x1p14f))), all_words(0x46800000));
  const W code = hn::Min(select(hn::Lt(a, all(e4m3::kMinNormal)), tiny, normal), all_words(0x7E));
  const W held = select(hn::IsNaN(x), all_words(e4m3::kNan), code);
  return hn::Or(held, hn::And(hn::ShiftRight<24>(bits(x)), all_words(0x80)));
}

// e4m3::decode for codes that are not NaN.
HWY_INLINE F decode_e4m3(W code) {
  const W magnitude = hn::ShiftLeft<20>(hn::And(code, all_words(0x7F)));
  const W sign = hn::ShiftLeft<24>(hn::And(code, all_words(0x80)));
  const F normal = floats(hn::Add(magnitude, all_words(120u << 23)));
  // With exponent 121 in place of 0 the mantissa counts in steps of 2^-9 above 2^-6.
  const F tiny = hn::Sub(floats(hn::Or(magnitude, all_words(121u << 23))), all(e4m3::kMinNormal));
  const auto small = hn::Lt(normal, all(e4m3::kMinNormal));
  return floats(hn::Or(bits(hn::IfThenElse(small, tiny, normal)), sign));
}

// e4m3::decode, NaN included.
HWY_INLINE F decode_e4m3_or_nan(W code) {
  const W magnitude = hn::And(code, all_words(0x7F));
  const W sign = hn::ShiftLeft<24>(hn::And(code, all_words(0x80)));
  const auto nan = hn::Eq(magnitude, all_words(e4m3::kNan));
  return floats(hn::IfThenElse(nan, hn::Or(sign, all_words(0x7FF00000)), bits(decode_e4m3(code))));
}

// The value of e4m3::encode(x); NaN stays NaN.
HWY_INLINE F round_e4m3(F x) {
  const F a = hn::Abs(x);
  const W raw = bits(a);
  const W odd = hn::And(hn::ShiftRight<20>(raw), all_words(1));
  const W normal = hn::And(hn::Add(raw, hn::Add(odd, all_words(0x7FFFF))), all_words(0xFFF00000));
  const F tiny = hn::Sub(hn::Add(a, all(0x1p14f)), all(0x1p14f));
  const F held = hn::IfThenElse(hn::Lt(a, all(e4m3::kMinNormal)), tiny, floats(normal));
  const F bounded = hn::IfThenElse(hn::Gt(a, all(e4m3::kMax)), all(e4m3::kMax), held);
  return hn::CopySign(hn::IfThenElse(hn::IsNaN(x), x, bounded), x);
}

// ---- E2M1 ------------------------------------------------------------------------------------

// |x| in steps of E2M1, ties to even, as a sum with a power of two that has no finer bits; `step`
// is that power: 2^22 below 2, 2^23 below 4, 2^24 above.
struct E2m1Sum {
  F sum;
  W step;
};
HWY_INLINE E2m1Sum sum_e2m1(F x) {
  const F a = hn::Min(hn::Abs(x), all(6.0f));
  const W binade = hn::And(bits(hn::Max(a, all(1.0f))), all_words(0x7F800000));
  const W step = hn::Add(binade, all_words(22u << 23));
  return {hn::Add(a, floats(step)), step};
}

// e2m1::encode.
HWY_INLINE W encode_e2m1(F x) {
  const E2m1Sum s = sum_e2m1(x);
  // Two codes per binade: 2 * (exponent - 22) counts those below.
  const W below = hn::Sub(hn::ShiftRight<22>(s.step), all_words(2 * (127 + 22)));
  const W magnitude = hn::Add(hn::Sub(bits(s.sum), s.step), below);
  return hn::Or(magnitude, select(hn::Lt(x, all(0.0f)), all_words(8), all_words(0)));
}

// The value of e2m1::encode(x).
HWY_INLINE F round_e2m1(F x) {
  const E2m1Sum s = sum_e2m1(x);
  const F magnitude = hn::Sub(s.sum, floats(s.step));
  return hn::IfThenElse(hn::Lt(x, all(0.0f)), hn::Neg(magnitude), magnitude);
}

// e2m1::encode_tie_to_zero.
HWY_INLINE W encode_e2m1_tie_to_zero(F x) {
  const F a = hn::Min(hn::Abs(x), all(6.0f));
  // Half a step less one unit: a tie stays below.
  const W normal =
      hn::Sub(hn::ShiftRight<22>(hn::Add(bits(a), all_words(0x1FFFFF))), all_words(252));
  const W upper = select(hn::Gt(a, all(0.75f)), all_words(2), all_words(1));
  const W tiny = select(hn::Gt(a, all(0.25f)), upper, all_words(0));
  const W magnitude = select(hn::Lt(a, all(1.0f)), tiny, normal);
  return hn::Or(magnitude, select(hn::Le(x, all(0.0f)), all_words(8), all_words(0)));
}

// e2m1::decode.
HWY_INLINE F decode_e2m1(W code) {
  const W magnitude = hn::And(code, all_words(7));
  const W sign = hn::ShiftLeft<28>(hn::And(code, all_words(8)));
  // Code 2 is 1.0; codes 0 and 1 count halves.
  const W normal = hn::ShiftLeft<22>(hn::Add(magnitude, all_words(252)));
  const W half = hn::And(hn::Sub(all_words(0), magnitude), all_words(0x3F000000));
  const auto small = hn::Lt(magnitude, all_words(2));
  return floats(hn::Or(hn::IfThenElse(small, half, normal), sign));
}

// ---- E8M0 ------------------------------------------------------------------------------------

// e8m0::encode.
HWY_INLINE W encode_e8m0(F x) {
  const W raw = bits(hn::Abs(x));
  const auto fraction = hn::Gt(hn::And(raw, all_words(0x7FFFFF)), all_words(0));
  const W up = hn::IfThenElse(fraction, all_words(1), all_words(0));
  const W code = hn::Min(hn::Add(hn::ShiftRight<23>(raw), up), all_words(254));
  return hn::IfThenElse(hn::Gt(raw, all_words(0x400000)), code, all_words(0));
}
// e8m0::decode for codes below 255.
HWY_INLINE F decode_e8m0(W code) {
  const auto smallest = hn::Eq(code, all_words(0));
  return floats(hn::IfThenElse(smallest, all_words(0x400000), hn::ShiftLeft<23>(code)));
}
// e8m0::decode_inverse for codes below 255.
HWY_INLINE F decode_inverse_e8m0(W code) {
  return decode_e8m0(hn::Sub(all_words(254), code));
}

// ---- integers --------------------------------------------------------------------------------

// x bounded and added to 1.5 * 2^23: the nearest integer, ties to even, stands in the low bits as a
// two's complement number. NaN stays NaN.
HWY_INLINE F integer_sum(F x, float low, float high) {
  // Where an argument is NaN, Min and Max return the second one.
  const F bounded = hn::Max(all(low), hn::Min(all(high), x));
  return hn::Add(bounded, all(0x1.8p23f));
}
// int8::encode in the low byte; the other bytes are undefined.
HWY_INLINE W encode_int8(F x) {
  return bits(integer_sum(x, -128.0f, 127.0f));
}
// int8::round.
HWY_INLINE F round_int8(F x) {
  return hn::Sub(integer_sum(x, -128.0f, 127.0f), all(0x1.8p23f));
}
// The sign-extended low byte as a number.
HWY_INLINE F decode_int8(W code) {
  using Ints = hn::RebindToSigned<Words>;
  return hn::ConvertTo(Floats(), hn::ShiftRight<24>(hn::BitCast(Ints(), hn::ShiftLeft<24>(code))));
}
// int4::encode.
HWY_INLINE W encode_int4(F x) {
  return hn::And(bits(integer_sum(x, -8.0f, 7.0f)), all_words(15));
}
// int4::decode.
HWY_INLINE F decode_int4(W code) {
  using Ints = hn::RebindToSigned<Words>;
  return hn::ConvertTo(Floats(), hn::ShiftRight<28>(hn::BitCast(Ints(), hn::ShiftLeft<28>(code))));
}

// ---- nibbles ---------------------------------------------------------------------------------

// Codes below 16, one per lane, two per byte with the even lane low: lanes() / 2 bytes.
HWY_INLINE void store_nibbles(W codes, uint8_t* p) {
  using Pairs = hn::RepartitionToWide<Words>;
  using HalfBytes = hn::Rebind<uint8_t, Pairs>;
  const auto pairs = hn::BitCast(Pairs(), codes);
  const auto bytes = hn::Or(pairs, hn::ShiftRight<28>(pairs));
  hn::StoreU(hn::TruncateTo(HalfBytes(), bytes), HalfBytes(), p);
}
// The reverse; reads lanes() / 2 bytes.
HWY_INLINE W load_nibbles(const uint8_t* p) {
  using Pairs = hn::RepartitionToWide<Words>;
  using HalfWords = hn::Rebind<uint32_t, Pairs>;
  using HalfBytes = hn::Rebind<uint8_t, Pairs>;
  const auto words = hn::PromoteTo(HalfWords(), hn::LoadU(HalfBytes(), p));
  const auto pairs = hn::PromoteTo(Pairs(), words);
  const auto spread = hn::Or(pairs, hn::ShiftLeft<28>(pairs));
  return hn::And(hn::BitCast(Words(), spread), all_words(15));
}

// ---- ranges ----------------------------------------------------------------------------------

// max |x| of n elements; n is a multiple of lanes().
template <class T>
HWY_INLINE float absmax_whole(const T* x, int64_t n) {
  F most = all(0.0f);
  for (int64_t i = 0; i < n; i += lanes())
    most = hn::Max(most, hn::Abs(load(x + i)));
  return hn::GetLane(hn::MaxOfLanes(Floats(), most));
}

// max |x| of n elements.
template <class T>
HWY_INLINE float absmax(const T* x, int64_t n) {
  const int64_t whole = n / lanes() * lanes();
  float most = absmax_whole(x, whole);
  for (int64_t i = whole; i < n; ++i) {
    const float value = to_float(x[i]);
    const float a = value < 0 ? -value : value;
    most = a > most ? a : most;
  }
  return most;
}

}  // namespace mopt::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#  endif

#endif
