// bfloat16: the upper half of a float32. One sign bit, 8 exponent bits, 7 mantissa bits.
#pragma once

#include <bit>
#include <cstdint>

#include "mopt/numeric/hd.hpp"

namespace mopt::bf16 {

MOPT_HD constexpr float decode(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

// Round to nearest even; beyond the range infinity; any NaN becomes a quiet NaN of the same sign.
MOPT_HD constexpr uint16_t encode(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  const uint32_t rounding = 0x7FFFu + ((bits >> 16) & 1u);
  return static_cast<uint16_t>((bits + rounding) >> 16);
}

// x as a bfloat16 holds it.
MOPT_HD constexpr float round(float x) {
  return decode(encode(x));
}

}  // namespace mopt::bf16
