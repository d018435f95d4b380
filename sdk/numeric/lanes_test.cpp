// The vector functions against the scalar ones over all 16-bit patterns, and the proof that the
// product with a reciprocal may stand for a division.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "mopt/numeric/e2m1.hpp"
#include "mopt/numeric/e8m0.hpp"
#include "mopt/numeric/int4.hpp"
#include "mopt/numeric/int8.hpp"
#include "mopt/numeric/range.hpp"

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "sdk/numeric/lanes_test.cpp"
#include "hwy/foreach_target.h"  // must come before lanes-inl.hpp
#include "mopt/numeric/lanes-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace mopt::test::HWY_NAMESPACE {
#if MOPT_NO_LANES

int count_wrong_codes() {
  return 0;
}
int count_wrong_products(int, int) {
  return 0;
}
int count_wrong_ranges() {
  return 0;
}

#else

using namespace mopt::HWY_NAMESPACE;  // NOLINT: the vector functions of lanes-inl.hpp

// How many of the lanes of `got` differ from scalar(x).
template <class Scalar>
int wrong(const float* x, W got, const Scalar& scalar) {
  HWY_ALIGN uint32_t codes[16];
  hn::Store(got, Words(), codes);
  int count = 0;
  for (int64_t i = 0; i < lanes(); ++i)
    count += codes[i] != static_cast<uint32_t>(scalar(x[i]));
  return count;
}
template <class Scalar>
int wrong(const float* x, F got, const Scalar& scalar) {
  return wrong(x, bits(got), [&](float v) { return std::bit_cast<uint32_t>(scalar(v)); });
}

// Every vector function on lanes() numbers.
int wrong_codes(const float* p) {
  const F x = hn::LoadU(Floats(), p);
  int count = wrong(p, encode_e4m3(x, x), [](float v) { return e4m3::encode(v); });
  count += wrong(p, decode_e4m3(encode_e4m3(x, x)),
                 [](float v) { return e4m3::decode(e4m3::encode(v)); });
  count += wrong(p, round_e4m3(x, x), [](float v) { return e4m3::decode(e4m3::encode(v)); });
  const F nonzero = without_negative_zero(x);
  count += wrong(p, encode_e2m1(nonzero), [](float v) { return e2m1::encode(v); });
  count += wrong(p, round_e2m1(nonzero), [](float v) { return e2m1::decode(e2m1::encode(v)); });
  count +=
      wrong(p, encode_e2m1_tie_to_zero(x), [](float v) { return e2m1::encode_tie_to_zero(v); });
  count += wrong(p, decode_e2m1(encode_e2m1_tie_to_zero(x)),
                 [](float v) { return e2m1::decode(e2m1::encode_tie_to_zero(v)); });
  count += wrong(p, encode_e8m0(x), [](float v) { return e8m0::encode(v); });
  count += wrong(p, decode_inverse_e8m0(encode_e8m0(x)),
                 [](float v) { return e8m0::decode_inverse(e8m0::encode(v)); });
  count += wrong(p, encode_int8(x), [](float v) { return static_cast<uint8_t>(int8::encode(v)); });
  count += wrong(p, decode_int8(encode_int8(x)), [](float v) { return int8::round(v) + 0.0f; });
  count += wrong(p, encode_int4(x), [](float v) { return int4::encode(v); });
  count +=
      wrong(p, decode_int4(encode_int4(x)), [](float v) { return int4::decode(int4::encode(v)); });
  count += wrong(p, round_as(x, static_cast<const Bf16*>(nullptr)), bf16::round);
  return count;
}

// Over every bf16 and fp16 number, and every bf16 number plus a little.
int count_wrong_codes() {
  int count = 0;
  float x[16];
  for (uint32_t first = 0; first < 0x10000; first += static_cast<uint32_t>(lanes())) {
    for (int kind = 0; kind < 3; ++kind) {
      bool finite = true;
      for (int64_t i = 0; i < lanes(); ++i) {
        const uint32_t code = first + static_cast<uint32_t>(i);
        const auto half = static_cast<uint16_t>(code);
        x[i] = kind == 0 ? bf16::decode(half) : fp16::decode(half);
        if (kind == 2) x[i] = std::bit_cast<float>(code << 16 | (code * 40503u & 0xFFFFu));
        finite = finite && std::isfinite(x[i]);
      }
      if (finite) count += wrong_codes(x);
    }
  }
  return count;
}

// Quotients of all numbers in [1, 2) with that many mantissa bits by every `stride`-th float32 of
// [1, 2). What holds there holds for any exponents, short of underflow.
int count_wrong_products(int mantissa_bits, int stride) {
  const F steps = hn::Iota(Floats(), 0.0f);
  F bad = all(0.0f);
  for (uint32_t m = 0; m < 1u << mantissa_bits; ++m) {
    const F x = all(std::bit_cast<float>(0x3F800000u | m << (23 - mantissa_bits)));
    for (int i = 0; i + lanes() * stride <= 1 << 23; i += static_cast<int>(lanes()) * stride) {
      const F offsets =
          hn::MulAdd(steps, all(static_cast<float>(stride)), all(static_cast<float>(i)));
      const F scale = hn::Add(all(1.0f), hn::Mul(offsets, all(0x1p-23f)));
      const F got = ByProduct(scale, hn::Div(all(1.0f), scale))(x);
      bad = hn::Add(bad, hn::IfThenElse(hn::Eq(got, hn::Div(x, scale)), all(0.0f), all(1.0f)));
    }
  }
  return static_cast<int>(hn::GetLane(hn::SumOfLanes(Floats(), bad)));
}

// Ranges of blocks of which each has its largest elsewhere, with a NaN in some place or with none.
template <class T>
int wrong_ranges(int64_t size) {
  constexpr int64_t kCount = 9;
  std::vector<T> x(static_cast<size_t>(kCount * size));
  int count = 0;
  for (int64_t nan = -1; nan < kCount * size; ++nan) {
    for (int64_t i = 0; i < kCount * size; ++i)
      put(static_cast<float>((i * 37 % 101 - 50) * (1 + i / size)), x[static_cast<size_t>(i)]);
    if (nan >= 0)
      put(std::copysign(std::numeric_limits<float>::quiet_NaN(), nan % 2 ? 1.0f : -1.0f),
          x[static_cast<size_t>(nan)]);
    float blocks[kCount];
    block_absmax(x.data(), kCount, size, blocks);
    for (int64_t b = 0; b < kCount; ++b)
      count += blocks[b] != absmax_of(x.data() + b * size, size);
    count += absmax(x.data(), kCount * size) != absmax_of(x.data(), kCount * size);
  }
  return count;
}

int count_wrong_ranges() {
  int count = 0;
  for (const int64_t size : {5, 16, 32, 48, 67}) {
    count += wrong_ranges<float>(size) + wrong_ranges<Bf16>(size) + wrong_ranges<F16>(size);
  }
  return count;
}

#endif
}  // namespace mopt::test::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mopt::test {

HWY_EXPORT(count_wrong_codes);
HWY_EXPORT(count_wrong_products);
HWY_EXPORT(count_wrong_ranges);

template <class Fn>
void for_each_target(const Fn& fn) {
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    fn(std::string(hwy::TargetName(target)));
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

TEST_CASE("vector conversions equal the scalar ones over all 16-bit patterns") {
  for_each_target([](const std::string& target) {
    CAPTURE(target);
    CHECK(HWY_DYNAMIC_DISPATCH(count_wrong_codes)() == 0);
  });
}

TEST_CASE("the corrected product is the quotient for every bf16 and every float32 scale") {
  for_each_target([](const std::string& target) {
    CAPTURE(target);
    CHECK(HWY_DYNAMIC_DISPATCH(count_wrong_products)(7, 1) == 0);
  });
}

TEST_CASE("the corrected product is the quotient for every f16 and every 31st float32 scale") {
  for_each_target([](const std::string& target) {
    CAPTURE(target);
    CHECK(HWY_DYNAMIC_DISPATCH(count_wrong_products)(10, 31) == 0);
  });
}

TEST_CASE("a range in vectors is that of one element after the other; a NaN does not count") {
  for_each_target([](const std::string& target) {
    CAPTURE(target);
    CHECK(HWY_DYNAMIC_DISPATCH(count_wrong_ranges)() == 0);
  });
}

}  // namespace mopt::test
#endif
