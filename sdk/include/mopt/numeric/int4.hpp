// Four-bit two's complement integers, stored in the low nibble of a byte.
#pragma once

#include <cstdint>

#include "mopt/numeric/hd.hpp"

namespace mopt::int4 {

inline constexpr float kMax = 7.0f;  // of the scale; codes reach -8
inline constexpr int kCodes = 16;

MOPT_HD constexpr float decode(uint8_t code) {
  return static_cast<float>(static_cast<int>(code & 15u) - ((code & 8u) != 0 ? 16 : 0));
}

// Nearest integer, a tie to the even one, within [-8, 7]. NaN is the caller's error.
MOPT_HD constexpr uint8_t encode(float x) {
  const float bounded = x < -8.0f ? -8.0f : (x > 7.0f ? 7.0f : x);
  // 1.5 * 2^23: the sum has no room for a fraction.
  return static_cast<uint8_t>(static_cast<int>((bounded + 0x1.8p23f) - 0x1.8p23f) & 15);
}

}  // namespace mopt::int4
