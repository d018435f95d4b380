#include <bit>

#include "mopt/numeric/bf16.hpp"
#include "mopt/numeric/e2m1.hpp"
#include "mopt/numeric/e4m3.hpp"
#include "mopt/numeric/e5m2.hpp"
#include "mopt/numeric/e8m0.hpp"
#include "mopt/numeric/fp16.hpp"
#include "mopt/numeric/int4.hpp"
#include "mopt/numeric/int8.hpp"
#include "sdk/numeric/rounding_law.hpp"

namespace mopt::test {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// -x gives the code of x with the sign bit, for x > 0.
template <class Encode>
void check_sign(Encode encode, int sign_bit) {
  bool symmetric = true;
  for (uint32_t bits = 1; bits <= 0x7F800000u; bits += 1009) {
    const float x = std::bit_cast<float>(bits);
    symmetric = symmetric && encode(-x) == (encode(x) | sign_bit);
  }
  CHECK(symmetric);
}

}  // namespace

TEST_CASE("fp16 rounds to nearest even, subnormals included") {
  const auto values = grid([](int c) { return fp16::decode(static_cast<uint16_t>(c)); }, 0x7BFF);
  CHECK(values.back() == fp16::kMax);
  check_rounds_to_nearest(values, fp16::encode, Tie::kEven);
  check_monotonic(fp16::encode);
  check_sign(fp16::encode, 0x8000);
}

TEST_CASE("fp16 beyond the range is infinity, from the middle to the next power of two on") {
  CHECK(fp16::encode(65519.996f) == 0x7BFF);
  CHECK(fp16::encode(65520.0f) == 0x7C00);
  CHECK(fp16::encode(-kInf) == 0xFC00);
  CHECK(fp16::decode(0x7C00) == kInf);
  CHECK(std::isnan(fp16::decode(0x7C01)));
  CHECK(std::isnan(fp16::decode(fp16::encode(-kNan))));
}

TEST_CASE("fp16 survives decoding and encoding for every pattern that is not NaN") {
  bool equal = true;
  for (uint32_t code = 0; code < 0x10000; ++code) {
    if ((code & 0x7FFF) > 0x7C00) continue;
    equal = equal && fp16::encode(fp16::decode(static_cast<uint16_t>(code))) == code;
  }
  CHECK(equal);
}

TEST_CASE("bf16 rounds to nearest even") {
  // Up to 2^127, where the middle to the next value still is a float32.
  const auto values = grid([](int c) { return bf16::decode(static_cast<uint16_t>(c)); }, 0x7F00);
  check_rounds_to_nearest(values, bf16::encode, Tie::kEven);
  check_sign(bf16::encode, 0x8000);
}

TEST_CASE("e4m3 rounds to nearest even and saturates at 448") {
  const auto values = grid([](int c) { return e4m3::decode(static_cast<uint8_t>(c)); }, 0x7E);
  CHECK(values.back() == e4m3::kMax);
  CHECK(values[1] == e4m3::kMin);
  CHECK(values[8] == e4m3::kMinNormal);
  check_rounds_to_nearest(values, e4m3::encode, Tie::kEven);
  check_rounds_to_nearest(values, e4m3::encode_or_nan, Tie::kEven);
  check_monotonic(e4m3::encode);
  check_monotonic(e4m3::encode_or_nan);
  check_sign(e4m3::encode, 0x80);
  check_sign(e4m3::encode_or_nan, 0x80);
}

TEST_CASE("e4m3 beyond 464 saturates or becomes NaN, by the name of the function") {
  CHECK(e4m3::encode_or_nan(464.0f) == 0x7E);
  CHECK(e4m3::encode_or_nan(464.00003f) == 0x7F);
  CHECK(e4m3::encode_or_nan(-kInf) == 0xFF);
  CHECK(e4m3::encode_or_nan(kNan) == 0x7F);
  CHECK(e4m3::encode(464.00003f) == 0x7E);
  CHECK(e4m3::encode(-kInf) == 0xFE);
  CHECK(e4m3::encode(kNan) == 0x7F);
  CHECK(e4m3::encode(-0.0f) == 0x80);
  CHECK(e4m3::encode(-1e-30f) == 0x80);
  CHECK(std::isnan(e4m3::decode(0x7F)));
  CHECK(std::isnan(e4m3::decode(0xFF)));
}

TEST_CASE("e5m2 rounds to nearest even and overflows to infinity") {
  const auto values = grid([](int c) { return e5m2::decode(static_cast<uint8_t>(c)); }, 0x7B);
  CHECK(values.back() == e5m2::kMax);
  check_rounds_to_nearest(values, e5m2::encode, Tie::kEven);
  check_monotonic(e5m2::encode);
  check_sign(e5m2::encode, 0x80);
  CHECK(e5m2::encode(61439.996f) == 0x7B);
  CHECK(e5m2::encode(61440.0f) == 0x7C);
  CHECK(e5m2::encode(kNan) == 0x7F);
}

TEST_CASE("e8m0: the scale of a range without a division is that of the quotient") {
  for (const float by : {e2m1::kMax, e4m3::kMax}) {
    int wrong = 0;
    const auto check = [&](uint32_t bits) {
      const float x = std::bit_cast<float>(bits);
      if (std::isfinite(x)) wrong += e8m0::encode_quotient(x, by) != e8m0::encode(x / by);
    };
    for (uint32_t bits = 0; bits < 0x7F800000u; bits += 1009)
      check(bits);
    for (uint32_t bits = 0; bits < 0x7F80u; ++bits)
      check(bits << 16);  // bf16
    // Where the code changes, and the middle between two changes.
    for (uint32_t change = std::bit_cast<uint32_t>(by) & 0x7FFFFFu; change < 0x7F800000u;
         change += 0x800000u) {
      for (uint32_t near = 0; near < 200; ++near) {
        if (change + near >= 100) check(change + near - 100);
        check((change + near + 0x400000u - 100) % 0x7F800000u);
      }
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("e8m0 is the smallest power of two that is not below") {
  for (int code = 0; code < 255; ++code) {
    const float power = e8m0::decode(static_cast<uint8_t>(code));
    CAPTURE(code);
    CHECK(power == std::ldexp(1.0f, code - e8m0::kBias));
    CHECK(power * e8m0::decode_inverse(static_cast<uint8_t>(code)) == 1.0f);
    CHECK(e8m0::encode(power) == code);
    CHECK(e8m0::encode(std::nextafter(power, kInf)) == std::min(code + 1, 254));
  }
  CHECK(e8m0::encode(0.0f) == 0);
  CHECK(std::isnan(e8m0::decode(255)));
}

TEST_CASE("e2m1 rounds to nearest by either tie rule, and the two signs of zero differ") {
  const auto values = grid([](int c) { return e2m1::decode(static_cast<uint8_t>(c)); }, 7);
  CHECK(values.back() == e2m1::kMax);
  check_rounds_to_nearest(values, e2m1::encode, Tie::kEven);
  check_rounds_to_nearest(
      values, [](float x) { return e2m1::encode_tie_to_zero(x) & (x == 0 ? 7 : 15); },
      Tie::kTowardZero);
  check_sign(e2m1::encode, 8);
  check_sign(e2m1::encode_tie_to_zero, 8);
  CHECK(e2m1::encode(0.0f) == 0);
  CHECK(e2m1::encode(-0.0f) == 0);
  CHECK(e2m1::encode(-1e-30f) == 8);
  CHECK(e2m1::encode_tie_to_zero(0.0f) == 8);
  CHECK(e2m1::encode_tie_to_zero(-0.0f) == 8);
  CHECK(e2m1::encode(kInf) == 7);
}

TEST_CASE("int4 and int8 are rint with a clamp") {
  for (float x = -300.0f; x <= 300.0f; x += 1.0f / 64) {
    const float rounded = std::rint(x);
    CAPTURE(x);
    CHECK(int8::encode(x) == static_cast<int>(std::clamp(rounded, -128.0f, 127.0f)));
    const float four = std::clamp(rounded, -8.0f, 7.0f);
    CHECK(int4::decode(int4::encode(x)) == four);
    CHECK(int4::encode(x) < int4::kCodes);
  }
  CHECK(int8::encode(kInf) == 127);
  CHECK(int8::decode(int8::encode(-kInf)) == -128.0f);
}

}  // namespace mopt::test
