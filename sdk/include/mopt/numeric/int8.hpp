// Eight-bit integers of symmetric formats.
#pragma once

#include <cstdint>

#include "mopt/numeric/hd.hpp"

namespace mopt::int8 {

inline constexpr float kMax = 127.0f;  // of the scale; codes reach -128

MOPT_HD constexpr float decode(int8_t code) {
  return static_cast<float>(code);
}

// Nearest integer, a tie to the even one, within [-128, 127]; NaN stays NaN.
MOPT_HD constexpr float round(float x) {
  const float bounded = x < -128.0f ? -128.0f : (x > 127.0f ? 127.0f : x);
  // 1.5 * 2^23: the sum has no room for a fraction.
  return (bounded + 0x1.8p23f) - 0x1.8p23f;
}

// The code of round(x). NaN is the caller's error.
MOPT_HD constexpr int8_t encode(float x) {
  return static_cast<int8_t>(round(x));
}

}  // namespace mopt::int8
