// E2M1, the 4-bit float of NVFP4 and MXFP4: sign, 2 exponent bits, 1 mantissa bit. No infinity, no
// NaN.
#pragma once

#include <cstdint>

#include "mopt/numeric/hd.hpp"

namespace mopt::e2m1 {

inline constexpr float kMax = 6.0f;
inline constexpr int kCodes = 16;

MOPT_HD constexpr float decode(uint8_t code) {
  constexpr float kMagnitude[] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
  return (code & 8) != 0 ? -kMagnitude[code & 7] : kMagnitude[code & 7];
}

// Nearest value; a tie goes to the even code; beyond kMax saturates. The sign bit stands for x < 0,
// so that either zero becomes 0. NaN is the caller's error.
MOPT_HD constexpr uint8_t encode(float x) {
  const float a = x < 0.0f ? -x : x;
  const int code = (a > 0.25f) + (a >= 0.75f) + (a > 1.25f) + (a >= 1.75f) + (a > 2.5f) +
                   (a >= 3.5f) + (a > 5.0f);
  return static_cast<uint8_t>((x < 0.0f ? 8 : 0) | code);
}

// ModelOpt's MXFP4 rule: a tie goes toward zero, and the sign bit stands for x <= 0, so that either
// zero becomes 8.
MOPT_HD constexpr uint8_t encode_tie_to_zero(float x) {
  const float a = x < 0.0f ? -x : x;
  const int code =
      (a > 0.25f) + (a > 0.75f) + (a > 1.25f) + (a > 1.75f) + (a > 2.5f) + (a > 3.5f) + (a > 5.0f);
  return static_cast<uint8_t>((x <= 0.0f ? 8 : 0) | code);
}

}  // namespace mopt::e2m1
