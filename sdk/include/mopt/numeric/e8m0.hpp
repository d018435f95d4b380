// E8M0, the block scale of the MX formats: the byte b means 2^(b-127); 255 is NaN.
#pragma once

#include <bit>
#include <cstdint>

#include "mopt/numeric/hd.hpp"

namespace mopt::e8m0 {

inline constexpr int kBias = 127;

MOPT_HD constexpr float decode(uint8_t code) {
  if (code == 0) return 0x1p-127f;
  if (code == 255) return std::bit_cast<float>(0x7FC00000u);
  return std::bit_cast<float>(static_cast<uint32_t>(code) << 23);
}

// 1 / decode(code), exact for every code below 255.
MOPT_HD constexpr float decode_inverse(uint8_t code) {
  return decode(static_cast<uint8_t>(2 * kBias - code));
}

// The smallest power of two that is not below x >= 0, within [2^-127, 2^127]: nothing that is
// divided by it exceeds the element's maximum. Infinity and NaN are the caller's error.
MOPT_HD constexpr uint8_t encode(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x) & 0x7FFFFFFFu;
  if (bits <= 0x00400000u) return 0;  // 2^-127
  const uint32_t exponent = (bits >> 23) + ((bits & 0x7FFFFFu) != 0 ? 1u : 0u);
  return static_cast<uint8_t>(exponent < 254u ? exponent : 254u);
}

// encode(x / by) of a finite x >= 0 for an element's maximum, 6 or 448, without a division: x / by
// is above 2^n where x is above by * 2^n, but for one number, whose quotient of 23 bits is 2^-127.
MOPT_HD constexpr uint8_t encode_quotient(float x, float by) {
  const uint32_t bits = std::bit_cast<uint32_t>(x), most = std::bit_cast<uint32_t>(by);
  const uint32_t mantissa = most & 0x7FFFFFu, exponent = (most >> 23) - kBias;
  const auto code = static_cast<int32_t>(((bits + 0x7FFFFFu - mantissa) >> 23) - exponent) -
                    static_cast<int32_t>(bits == (exponent << 23) + mantissa + 1u);
  return static_cast<uint8_t>(code > 0 ? code : 0);
}

}  // namespace mopt::e8m0
