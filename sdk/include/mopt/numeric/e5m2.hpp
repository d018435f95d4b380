// E5M2, the wide 8-bit float: sign, 5 exponent bits (bias 15), 2 mantissa bits. The upper half of a
// binary16, with its infinities and NaNs.
#pragma once

#include <bit>
#include <cstdint>

#include "mopt/numeric/fp16.hpp"

namespace mopt::e5m2 {

inline constexpr float kMax = 57344.0f;

MOPT_HD constexpr float decode(uint8_t code) {
  return fp16::decode(static_cast<uint16_t>(code << 8));
}

// Round to nearest even; beyond the range infinity; any NaN becomes 0x7F with its sign.
MOPT_HD constexpr uint8_t encode(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t sign = bits >> 24 & 0x80u;
  const uint32_t a = bits & 0x7FFFFFFFu;
  if (a > 0x7F800000u) return static_cast<uint8_t>(sign | 0x7Fu);
  if (a >= 0x47800000u) return static_cast<uint8_t>(sign | 0x7Cu);  // 2^16 and above
  if (a < 0x38800000u) {
    // Below 2^-14 the sum with 2^7 rounds at the step of the subnormals, 2^-16.
    const uint32_t sum = std::bit_cast<uint32_t>(std::bit_cast<float>(a) + 0x1p7f);
    return static_cast<uint8_t>(sign | (sum - 0x43000000u));
  }
  const uint32_t rounded = a + 0xFFFFFu + (a >> 21 & 1u);
  return static_cast<uint8_t>(sign | ((rounded >> 21) - (112u << 2)));
}

}  // namespace mopt::e5m2
