// IEEE binary16: one sign bit, 5 exponent bits (bias 15), 10 mantissa bits.
#pragma once

#include <bit>
#include <cstdint>

#include "mopt/numeric/hd.hpp"

namespace mopt::fp16 {

inline constexpr float kMax = 65504.0f;
inline constexpr float kMinNormal = 0x1p-14f;

MOPT_HD constexpr float decode(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 31u;
  const uint32_t mantissa = bits & 0x3FFu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000u | mantissa << 13);
  if (exponent == 0) {
    const float tiny = static_cast<float>(mantissa) * 0x1p-24f;
    return sign != 0 ? -tiny : tiny;
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
}

// Round to nearest even; beyond the range infinity; any NaN becomes a quiet NaN of the same sign.
MOPT_HD constexpr uint16_t encode(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t a = bits & 0x7FFFFFFFu;
  if (a > 0x7F800000u) return static_cast<uint16_t>(sign | 0x7E00u | (a >> 13 & 0x3FFu));
  if (a >= 0x47800000u) return static_cast<uint16_t>(sign | 0x7C00u);  // 2^16 and above
  if (a < 0x38800000u) {
    // Below 2^-14 the sum with 1/2 rounds at the step of the subnormals, 2^-24.
    const uint32_t sum = std::bit_cast<uint32_t>(std::bit_cast<float>(a) + 0.5f);
    return static_cast<uint16_t>(sign | (sum - 0x3F000000u));
  }
  const uint32_t rounded = a + 0xFFFu + (a >> 13 & 1u);
  return static_cast<uint16_t>(sign | ((rounded >> 13) - (112u << 10)));
}

// x as a binary16 holds it.
MOPT_HD constexpr float round(float x) {
  return decode(encode(x));
}

}  // namespace mopt::fp16
