// CUDA's mathematics for cuda_emulation.hpp, which includes it: each function as the device rounds
// it, with the approximations (rsqrtf) as the nearest value.
#pragma once

#include <bit>
#include <cfenv>
#include <cmath>
#include <cstdint>

#define MOPT_EMULATED_MIN_MAX(T)     \
  inline constexpr T min(T a, T b) { \
    return b < a ? b : a;            \
  }                                  \
  inline constexpr T max(T a, T b) { \
    return a < b ? b : a;            \
  }
MOPT_EMULATED_MIN_MAX(int)
MOPT_EMULATED_MIN_MAX(unsigned)
MOPT_EMULATED_MIN_MAX(long)
MOPT_EMULATED_MIN_MAX(unsigned long)
MOPT_EMULATED_MIN_MAX(long long)
MOPT_EMULATED_MIN_MAX(unsigned long long)
#undef MOPT_EMULATED_MIN_MAX
inline float min(float a, float b) {
  return std::fmin(a, b);
}
inline float max(float a, float b) {
  return std::fmax(a, b);
}
inline double min(double a, double b) {
  return std::fmin(a, b);
}
inline double max(double a, double b) {
  return std::fmax(a, b);
}

inline float __fadd_rn(float a, float b) {
  return a + b;
}
// With the rounding of the next operation set; volatile, or it is done before.
inline float __fadd_ru(float a, float b) {
  const int before = std::fegetround();
  std::fesetround(FE_UPWARD);
  volatile float x = a;
  const volatile float sum = x + b;
  std::fesetround(before);
  return sum;
}
inline float __fsub_rn(float a, float b) {
  return a - b;
}
inline float __fmul_rn(float a, float b) {
  return a * b;
}
inline float __fdiv_rn(float a, float b) {
  return a / b;
}
inline float __frcp_rn(float a) {
  return 1.0f / a;
}
inline float __fsqrt_rn(float a) {
  return std::sqrt(a);
}
inline float __fmaf_rn(float a, float b, float c) {
  return std::fma(a, b, c);
}
inline float rsqrtf(float a) {
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(a)));
}
inline double rsqrt(double a) {
  return 1.0 / std::sqrt(a);
}

inline uint32_t __float_as_uint(float x) {
  return std::bit_cast<uint32_t>(x);
}
inline int __float_as_int(float x) {
  return std::bit_cast<int>(x);
}
inline float __uint_as_float(uint32_t x) {
  return std::bit_cast<float>(x);
}
inline float __int_as_float(int x) {
  return std::bit_cast<float>(x);
}

inline int __popc(uint32_t x) {
  return std::popcount(x);
}
inline int __popcll(uint64_t x) {
  return std::popcount(x);
}
inline int __clz(uint32_t x) {
  return std::countl_zero(x);
}
// The place of the lowest bit that is set, from 1 on; 0: none.
inline int __ffs(uint32_t x) {
  return x == 0 ? 0 : std::countr_zero(x) + 1;
}
// Bytes of b:a, chosen by the three lower bits of each nibble of `selector`.
inline uint32_t __byte_perm(uint32_t a, uint32_t b, uint32_t selector) {
  const uint64_t both = static_cast<uint64_t>(b) << 32 | a;
  uint32_t result = 0;
  for (int i = 0; i < 4; ++i) {
    const uint32_t choice = selector >> (4 * i) & 7u;
    result |= static_cast<uint32_t>(both >> (8 * choice) & 0xFFu) << (8 * i);
  }
  return result;
}
// high:low shifted left, the upper word.
inline uint32_t __funnelshift_l(uint32_t low, uint32_t high, uint32_t shift) {
  const uint64_t both = static_cast<uint64_t>(high) << 32 | low;
  return static_cast<uint32_t>(both << (shift & 31u) >> 32);
}
// high:low shifted right, the lower word.
inline uint32_t __funnelshift_r(uint32_t low, uint32_t high, uint32_t shift) {
  const uint64_t both = static_cast<uint64_t>(high) << 32 | low;
  return static_cast<uint32_t>(both >> (shift & 31u));
}
