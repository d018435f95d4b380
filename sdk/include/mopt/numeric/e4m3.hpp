// E4M3, the 8-bit float of FP8, MXFP8 and of NVFP4's block scales ("e4m3fn"): sign, 4 exponent bits
// (bias 7), 3 mantissa bits. No infinity; 0x7F and 0xFF are NaN.
#pragma once

#include <bit>
#include <cstdint>

#include "mopt/numeric/hd.hpp"

namespace mopt::e4m3 {

inline constexpr float kMax = 448.0f;
inline constexpr float kMinNormal = 0x1p-6f;
inline constexpr float kMin = 0x1p-9f;  // the smallest above zero
inline constexpr uint8_t kNan = 0x7F;

MOPT_HD constexpr float decode(uint8_t code) {
  const uint32_t magnitude = code & 0x7Fu;
  const uint32_t sign = static_cast<uint32_t>(code & 0x80u) << 24;
  if (magnitude == kNan) return std::bit_cast<float>(sign | 0x7FF00000u);
  if (magnitude < 8) {
    const float tiny = static_cast<float>(magnitude) * kMin;
    return sign != 0 ? -tiny : tiny;
  }
  return std::bit_cast<float>(sign | ((magnitude << 20) + (120u << 23)));
}

namespace detail {

// |x| on the grid continued past 448, that is 0x7F for 480 and more beyond; sign apart.
MOPT_HD constexpr uint32_t magnitude(uint32_t a) {
  if (a < 0x3C800000u) {
    // Below 2^-6 the sum with 2^14 rounds at the step of the subnormals, 2^-9.
    return std::bit_cast<uint32_t>(std::bit_cast<float>(a) + 0x1p14f) - 0x46800000u;
  }
  return ((a + 0x7FFFFu + (a >> 20 & 1u)) >> 20) - (120u << 3);
}

}  // namespace detail

// Round to nearest even. Beyond 464, the middle between 448 and the missing 480, NaN of the same
// sign: the cast of older PyTorch and of CUDA without saturation.
MOPT_HD constexpr uint8_t encode_or_nan(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t code = detail::magnitude(bits & 0x7FFFFFFFu);
  return static_cast<uint8_t>((bits >> 24 & 0x80u) | (code < kNan ? code : kNan));
}

// Round to nearest even, saturating at 448, infinity included; NaN stays NaN. What engines do, and
// PyTorch's cast since 2.15.
MOPT_HD constexpr uint8_t encode(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t a = bits & 0x7FFFFFFFu;
  const uint32_t sign = bits >> 24 & 0x80u;
  if (a > 0x7F800000u) return static_cast<uint8_t>(sign | kNan);
  const uint32_t code = detail::magnitude(a);
  return static_cast<uint8_t>(sign | (code < 0x7Eu ? code : 0x7Eu));
}

}  // namespace mopt::e4m3
