// The element conversions over Highway vectors. A "-inl" header in Highway's sense: it is included
// once per instruction set, inside the foreach_target loop of a kernel file, after highway.h. Bit
// for bit the scalar functions of this folder; whoever uses it needs Highway.
//
// Speed: an element costs about one vector instruction of 32 bytes (widen, divide, round, pack), so
// one core of a 2.6 GHz Zen 4 encodes 7 (NVFP4) to 16 (INT8) GB/s of bf16 from cache and 6 to 11
// from memory, where a plain read gets 23: arithmetic is the limit (tests/bench/encode_bench.cpp).
#if defined(MOPT_NUMERIC_LANES_INL) == defined(HWY_TARGET_TOGGLE)
#  ifdef MOPT_NUMERIC_LANES_INL
#    undef MOPT_NUMERIC_LANES_INL
#  else
#    define MOPT_NUMERIC_LANES_INL
#  endif

#  include <cmath>

#  include "hwy/highway.h"
#  include "mopt/numeric/e4m3.hpp"
#  include "mopt/numeric/range.hpp"
#  include "mopt/numeric/reals.hpp"

// Targets without vectors, or without a fixed length of them: kernels give them their reference.
#  undef MOPT_NO_LANES
#  if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128 || HWY_HAVE_SCALABLE
#    define MOPT_NO_LANES 1
#  else
#    define MOPT_NO_LANES 0
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

// 2 * lanes() consecutive elements, those of even and those of odd index apart. Two bf16 fill a
// 32-bit lane, so do two bytes of codes after widening: neither way needs a shuffle, and a pair of
// 4-bit codes is one byte.
struct Pair {
  F even, odd;
};
struct Codes {
  W even, odd;
};
HWY_INLINE int64_t pair_size() {
  return 2 * lanes();
}
// The largest multiple of pair_size() in n; the rest goes to the reference.
HWY_INLINE int64_t whole_pairs(int64_t n) {
  return n / pair_size() * pair_size();
}

HWY_INLINE Pair load_pair(const float* p) {
  Pair x;
  hn::LoadInterleaved2(Floats(), p, x.even, x.odd);
  return x;
}
HWY_INLINE Pair load_pair(const Bf16* p) {
  const hn::RepartitionToNarrow<Words> halves;
  const W both = hn::BitCast(Words(), hn::LoadU(halves, &p->bits));
  return {floats(hn::ShiftLeft<16>(both)), floats(hn::And(both, all_words(0xFFFF0000)))};
}
HWY_INLINE Pair load_pair(const F16* p) {
  const hn::Rebind<hwy::float16_t, Floats> halves;
  const auto* raw = reinterpret_cast<const hwy::float16_t*>(p);
  const F low = hn::PromoteTo(Floats(), hn::LoadU(halves, raw));
  const F high = hn::PromoteTo(Floats(), hn::LoadU(halves, raw + lanes()));
  return {hn::ConcatEven(Floats(), high, low), hn::ConcatOdd(Floats(), high, low)};
}

// Codes of a byte each; of every lane the low byte counts, the others are zero.
HWY_INLINE Codes load_codes(const uint8_t* p) {
  const hn::RepartitionToNarrow<Halves> bytes;
  const auto halves = hn::BitCast(Halves(), hn::LoadU(bytes, p));
  const W both = hn::PromoteTo(Words(), halves);
  return {hn::And(both, all_words(0xFF)), hn::ShiftRight<8>(both)};
}
HWY_INLINE void store_codes(Codes x, uint8_t* p) {
  const hn::RepartitionToNarrow<Halves> bytes;
  const W both = hn::Or(x.even, hn::ShiftLeft<8>(x.odd));
  hn::StoreU(hn::BitCast(bytes, hn::TruncateTo(Halves(), both)), bytes, p);
}
// Codes of four bits, the even one in the low nibble: lanes() bytes.
HWY_INLINE Codes load_nibbles(const uint8_t* p) {
  const W both = hn::PromoteTo(Words(), hn::LoadU(Bytes(), p));
  return {hn::And(both, all_words(15)), hn::ShiftRight<4>(both)};
}
HWY_INLINE void store_nibbles(Codes x, uint8_t* p) {
  const W both = hn::Or(x.even, hn::ShiftLeft<4>(x.odd));
  hn::StoreU(hn::TruncateTo(Bytes(), both), Bytes(), p);
}
// The low byte of every lane, in order.
HWY_INLINE void store_bytes(W x, uint8_t* p) {
  hn::StoreU(hn::TruncateTo(Bytes(), x), Bytes(), p);
}

// The bits of x rounded to bfloat16, in the upper half; the lower half is undefined. A NaN stays
// one unless it has the sixteen lowest bits set, which no arithmetic on bfloat16 makes.
HWY_INLINE W bf16_bits(F x) {
  const W raw = bits(x);
  const W odd = hn::And(hn::ShiftRight<16>(raw), all_words(1));
  return hn::Add(raw, hn::Add(odd, all_words(0x7FFF)));
}
HWY_INLINE void store_pair(Pair x, float* p) {
  hn::StoreInterleaved2(x.even, x.odd, Floats(), p);
}
HWY_INLINE void store_pair(Pair x, Bf16* p) {
  const hn::RepartitionToNarrow<Words> halves;
  const W low = hn::ShiftRight<16>(bf16_bits(x.even));
  const W both = hn::Or(low, hn::And(bf16_bits(x.odd), all_words(0xFFFF0000)));
  hn::StoreU(hn::BitCast(halves, both), halves, &p->bits);
}
// Through the scalar rule: binary16 is never the type of a result in a hot loop.
HWY_INLINE void store_pair(Pair x, F16* p) {
  HWY_ALIGN float even[16], odd[16];
  hn::Store(x.even, Floats(), even);
  hn::Store(x.odd, Floats(), odd);
  for (int64_t i = 0; i < lanes(); ++i) {
    put(even[i], p[2 * i]);
    put(odd[i], p[2 * i + 1]);
  }
}

// ---- rounding to the type of the source ------------------------------------------------------

HWY_INLINE F round_as(F x, const float*) {
  return x;
}
HWY_INLINE F round_as(F x, const Bf16*) {
  return floats(hn::And(bf16_bits(x), all_words(0xFFFF0000)));
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

// The codes of a float with few mantissa bits count its values from zero up: in each binade the
// same number of equal steps, and below the smallest normal number steps as in the first binade. So
// adding to |x| a power of two whose own last bit is worth one step rounds it, ties to even, and
// leaves the number of steps in the low bits of the sum. Adding what the binades below hold gives
// the code.
struct StepSum {
  F sum;     // |x| + base
  F base;    // the power of two, and an even number of steps that makes the codes come out right
  W binade;  // the exponent bits of |x|, at least those of the smallest normal number
};
// The sign bit of x where that of a code of Bits bits is, above its other bits.
template <int kBits>
HWY_INLINE W with_sign(W code, F x) {
  const W sign = hn::ShiftRight<32 - kBits>(bits(x));
  return hn::Or(hn::And(code, all_words((1u << (kBits - 1)) - 1)),
                hn::And(sign, all_words(1u << (kBits - 1))));
}

// 8 steps per binade, one step is 2^-3 of it. Where an argument is NaN, Min and Max return the
// second one: NaN stays NaN.
HWY_INLINE StepSum sum_e4m3(F x) {
  constexpr uint32_t kBelow = 8 * (127 - 6);  // what `binade >> 20` has too much
  const F a = hn::Min(all(e4m3::kMax), hn::Abs(x));
  const W binade = hn::And(bits(hn::Max(all(e4m3::kMinNormal), a)), all_words(0x7F800000));
  const F base = floats(hn::Add(binade, all_words(20u << 23 | (0u - kBelow) % 128)));
  return {hn::Add(a, base), base, binade};
}
// e4m3::encode of a number that is not NaN; the sign is that of `signed_like`, which a quotient
// that became zero may have lost.
HWY_INLINE W encode_e4m3(F x, F signed_like) {
  const StepSum s = sum_e4m3(x);
  return with_sign<8>(hn::Add(bits(s.sum), hn::ShiftRight<20>(s.binade)), signed_like);
}
// The value of e4m3::encode(x) with that sign; NaN stays NaN.
HWY_INLINE F round_e4m3(F x, F signed_like) {
  const StepSum s = sum_e4m3(x);
  return hn::CopySign(hn::Sub(s.sum, s.base), signed_like);
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

// ---- E2M1 ------------------------------------------------------------------------------------

// 2 steps per binade, one step is half of it.
HWY_INLINE StepSum sum_e2m1(F x) {
  constexpr uint32_t kBelow = 2 * 127;  // what `binade >> 22` has too much
  const F a = hn::Min(hn::Abs(x), all(6.0f));
  const W binade = hn::And(bits(hn::Max(a, all(1.0f))), all_words(0x7F800000));
  const F base = floats(hn::Add(binade, all_words(22u << 23 | (0u - kBelow) % 8)));
  return {hn::Add(a, base), base, binade};
}
// e2m1::encode of a number that is zero only without a sign.
HWY_INLINE W encode_e2m1(F x) {
  const StepSum s = sum_e2m1(x);
  return with_sign<4>(hn::Add(bits(s.sum), hn::ShiftRight<22>(s.binade)), x);
}
// The value of e2m1::encode(x), under the same condition.
HWY_INLINE F round_e2m1(F x) {
  const StepSum s = sum_e2m1(x);
  return hn::CopySign(hn::Sub(s.sum, s.base), x);
}
// -0 as +0, everything else as it is.
HWY_INLINE F without_negative_zero(F x) {
  return hn::Add(x, all(0.0f));
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
  HWY_ALIGN static constexpr float kValues[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,
                                                  4.0f,  6.0f,  -0.0f, -0.5f, -1.0f, -1.5f,
                                                  -2.0f, -3.0f, -4.0f, -6.0f};
  if constexpr (hn::MaxLanes(Floats()) == 16) {
    return hn::TableLookupLanes(hn::Load(Floats(), kValues), hn::IndicesFromVec(Floats(), code));
  } else {
    const W magnitude = hn::And(code, all_words(7));
    const W sign = hn::ShiftLeft<28>(hn::And(code, all_words(8)));
    // Code 2 is 1.0; codes 0 and 1 count halves.
    const W normal = hn::ShiftLeft<22>(hn::Add(magnitude, all_words(252)));
    const W half = hn::And(hn::Sub(all_words(0), magnitude), all_words(0x3F000000));
    const auto small = hn::Lt(magnitude, all_words(2));
    return floats(hn::Or(hn::IfThenElse(small, half, normal), sign));
  }
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
// int8::encode.
HWY_INLINE W encode_int8(F x) {
  return hn::And(bits(integer_sum(x, -128.0f, 127.0f)), all_words(0xFF));
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

// ---- quotients -------------------------------------------------------------------------------

// x / scale, correctly rounded, but never -0; by a division.
struct ByDivision {
  explicit ByDivision(F by) : scale(by) {}
  HWY_INLINE F operator()(F x) const { return without_negative_zero(hn::Div(x, scale)); }
  F scale;
};

// The same by a product with the reciprocal and one fused correction, at a third of the cost. Equal
// to the division for every x with at most 11 significant bits (bf16, f16) and every scale, as a
// test shows by trying them all.
struct ByProduct {
  ByProduct(F by, F reciprocal) : scale(by), inverse(reciprocal) {}
  HWY_INLINE F operator()(F x) const {
    const F near = hn::Mul(x, inverse);
    return hn::MulAdd(hn::NegMulAdd(near, scale, x), inverse, near);
  }
  F scale, inverse;
};

// Whether ByProduct may stand for ByDivision with scales of [least, most]: the multiplications
// fuse, the source has few bits, and no intermediate result that matters underflows.
template <class T>
HWY_INLINE bool product_is_exact(const T*, float least, float most) {
  constexpr bool kFused = HWY_NATIVE_FMA != 0;
  return kFused && sizeof(T) == 2 && least >= 0x1p-80f && most <= 0x1p10f;
}

// Calls fn with a divider by `scale` for elements of p.
template <class T, class Fn>
HWY_INLINE void with_divider(const T* p, float scale, const Fn& fn) {
  if (product_is_exact(p, scale, scale)) {
    fn(ByProduct(all(scale), all(1.0f / scale)));
  } else {
    fn(ByDivision(all(scale)));
  }
}

// ---- ranges ----------------------------------------------------------------------------------

// The magnitudes of 16-bit types order like their bits.
using Magnitudes = hn::ScalableTag<uint16_t>;

template <class T>
HWY_INLINE float magnitude_of(uint16_t raw, const T*) {
  return to_float(T{raw});
}

// max |x| of n elements; a NaN does not count.
HWY_INLINE float absmax(const float* x, int64_t n) {
  const int64_t whole = n / lanes() * lanes();
  F most = all(0.0f);
  for (int64_t i = 0; i < whole; i += lanes()) {
    const F a = hn::Abs(hn::LoadU(Floats(), x + i));
    most = hn::Max(most, hn::IfThenZeroElse(hn::IsNaN(a), a));
  }
  const float rest = absmax_of(x + whole, n - whole),
              found = hn::GetLane(hn::MaxOfLanes(Floats(), most));
  return found > rest ? found : rest;
}
template <class T>
HWY_INLINE float absmax(const T* x, int64_t n) {
  const Magnitudes d;
  const auto step = static_cast<int64_t>(hn::Lanes(d));
  const auto magnitude = hn::Set(d, 0x7FFF);
  auto first = hn::Zero(d), second = first;
  int64_t i = 0;
  for (; i + 2 * step <= n; i += 2 * step) {
    first = hn::Max(first, hn::And(hn::LoadU(d, &x[i].bits), magnitude));
    second = hn::Max(second, hn::And(hn::LoadU(d, &x[i + step].bits), magnitude));
  }
  const uint16_t found = hn::GetLane(hn::MaxOfLanes(d, hn::Max(first, second)));
  const float whole = magnitude_of(found, x), rest = absmax_of(x + i, n - i);
  // The bits of a NaN are the largest: once more, without them.
  if (std::isnan(whole)) return absmax_of(x, n);
  return whole > rest ? whole : rest;
}

// Eight magnitudes as float32.
using Eight = hn::CappedTag<uint16_t, 8>;
HWY_INLINE void store_magnitudes(hn::Vec<Eight> x, const Bf16*, float* out) {
  const hn::Rebind<uint32_t, Eight> words;
  const hn::Rebind<float, Eight> values;
  hn::StoreU(hn::BitCast(values, hn::ShiftLeft<16>(hn::PromoteTo(words, x))), values, out);
}
HWY_INLINE void store_magnitudes(hn::Vec<Eight> x, const F16*, float* out) {
  const hn::Rebind<hwy::float16_t, Eight> halves;
  const hn::Rebind<float, Eight> values;
  hn::StoreU(hn::PromoteTo(values, hn::BitCast(halves, x)), values, out);
}

// Eight blocks of `size` elements, a multiple of 16: max |x| of each to out[0..8).
template <class T>
HWY_INLINE void absmax_of_eight(const T* x, int64_t size, float* out) {
  using D = hn::CappedTag<uint16_t, 16>;
  using D32 = hn::RepartitionToWide<D>;
  using D64 = hn::RepartitionToWide<D32>;
  const D d;
  const auto step = static_cast<int64_t>(hn::Lanes(d));
  const auto range = [&](int64_t block) HWY_ATTR {
    auto most = hn::Zero(d);
    for (int64_t i = block * size; i < (block + 1) * size; i += step) {
      most = hn::Max(most, hn::And(hn::LoadU(d, &x[i].bits), hn::Set(d, 0x7FFF)));
    }
    return most;
  };
  // Interleaving two vectors and taking the larger of the halves leaves alternating partial maxima;
  // done with pairs, then fours, every eighth of a 128-bit group belongs to one block.
  const auto fold = [&](auto tag, auto a, auto b) HWY_ATTR {
    const auto wide_a = hn::BitCast(tag, a), wide_b = hn::BitCast(tag, b);
    return hn::Max(hn::BitCast(d, hn::InterleaveLower(tag, wide_a, wide_b)),
                   hn::BitCast(d, hn::InterleaveUpper(tag, wide_a, wide_b)));
  };
  const auto four = [&](int64_t first) HWY_ATTR {
    const auto low = fold(d, range(first), range(first + 1));
    return fold(D32(), low, fold(d, range(first + 2), range(first + 3)));
  };
  const auto eight = fold(D64(), four(0), four(4));
  const Eight d8;
  auto most = hn::Zero(d8);
  if constexpr (hn::MaxLanes(D()) == 16) {
    most = hn::Max(hn::LowerHalf(d8, eight), hn::UpperHalf(d8, eight));
  } else {
    most = eight;
  }
  store_magnitudes(most, x, out);
  constexpr uint16_t kInfinity = std::is_same_v<T, Bf16> ? 0x7F80 : 0x7C00;
  if (hn::AllFalse(d8, hn::Gt(most, hn::Set(d8, kInfinity)))) return;
  for (int64_t b = 0; b < 8; ++b) {
    if (std::isnan(out[b])) out[b] = absmax_of(x + b * size, size);
  }
}

// max |x| of each of `count` consecutive blocks of `size` elements.
template <class T>
HWY_INLINE void block_absmax(const T* x, int64_t count, int64_t size, float* out) {
  int64_t b = 0;
  if constexpr (sizeof(T) == 2) {
    const int64_t eights = size % 16 == 0 ? count / 8 * 8 : 0;
    for (; b < eights; b += 8)
      absmax_of_eight(x + b * size, size, out + b);
  }
  for (; b < count; ++b)
    out[b] = absmax(x + b * size, size);
}

// ---- runs of 8-bit codes that share a scale ---------------------------------------------------

// Codec has decode(code), and round(quotient, x): the value of the code that x becomes. Both loops
// take the whole pairs among n elements and return how many elements that is.
template <class Codec>
HWY_INLINE int64_t decode_run(const uint8_t* codes, int64_t n, float scale, RealsOut out) {
  const int64_t body = whole_pairs(n);
  visit(out, [&](auto* to) {
    const F by = all(scale);
    for (int64_t i = 0; i < body; i += pair_size()) {
      const Codes c = load_codes(codes + i);
      store_pair({hn::Mul(Codec::decode(c.even), by), hn::Mul(Codec::decode(c.odd), by)}, to + i);
    }
  });
  return body;
}

template <class Codec, class T, class U, class Divide>
HWY_INLINE void round_trip_pairs(const T* p, int64_t n, U* to, F scale, const Divide& divide) {
  for (int64_t i = 0; i < n; i += pair_size()) {
    const Pair x = load_pair(p + i);
    store_pair({hn::Mul(Codec::round(divide(x.even), x.even), scale),
                hn::Mul(Codec::round(divide(x.odd), x.odd), scale)},
               to + i);
  }
}
template <class Codec>
HWY_INLINE int64_t round_trip_run(Reals x, int64_t n, float scale, RealsOut out) {
  const int64_t body = whole_pairs(n);
  visit(x, [&](const auto* p) {
    visit(out, [&](auto* to) {
      with_divider(p, scale, [&](const auto& divide) HWY_ATTR {
        round_trip_pairs<Codec>(p, body, to, all(scale), divide);
      });
    });
  });
  return body;
}

}  // namespace mopt::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#  endif

#endif
