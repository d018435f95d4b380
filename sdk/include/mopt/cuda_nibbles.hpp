// Sixteen codes of four bits, assembled in registers: E2M1 with either rule for ties, and back. For
// *_cuda.cu files.
#pragma once

#include "mopt/cuda_blocks.hpp"

#if defined(__CUDACC__) || defined(MOPT_CUDA_EMULATION)

namespace mopt::cuda {

// E2M1 codes count the format's values from zero up: 4 below 2 in steps of 1/2, 2 in steps of 1, 2
// in steps of 2. Adding to |x| the power of two whose last bit is worth a step rounds it, and
// leaves the number of steps in the low bits of the sum; each doubling of the step adds 2 to the
// code.
namespace e2m1_steps {

// The exponent of the sum's power of two above that of |x|, in steps.
constexpr uint32_t kUp = 22u << 23;
// The biased exponent of |x|, at least that of 1.
__device__ inline uint32_t exponent(float a) {
  return std::bit_cast<uint32_t>(fmaxf(a, 1.0f)) >> 23;
}
__device__ inline float base(uint32_t exponent) {
  uint32_t bits = exponent * (1u << 23) + kUp;
#  if defined(__CUDA_ARCH__)
  // The compiler would make two instructions of it, by masking what `exponent` was taken from.
  asm("mad.lo.u32 %0, %1, 0x800000, %2;" : "=r"(bits) : "r"(exponent), "n"(kUp));
#  endif
  return std::bit_cast<float>(bits);
}
// bits(sum) - bits(base) + 2 * (exponent - 127) less a constant, which nibbles() adds for all.
constexpr uint32_t kLess = kUp + 2 * 127;
__device__ inline uint32_t code(float sum, uint32_t exponent) {
  return std::bit_cast<uint32_t>(sum) + exponent * (2u - (1u << 23));
}
// Eight codes that were shifted in without the constant, and the four upper bits of eight words
// that hold the signs.
__device__ inline uint32_t nibbles(uint32_t codes, uint32_t signs) {
  return (codes - kLess * 0x11111111u) | (signs & 0x88888888u);
}

}  // namespace e2m1_steps

// e2m1::encode of 8 numbers from `first` on, each zero only without a sign. kBounded: |x| < 7.
template <bool kBounded>
__device__ uint32_t e2m1_eight(const float (&x)[kRun], int first) {
#  if defined(__CUDA_ARCH_FEAT_SM100_ALL) || defined(__CUDA_ARCH_FEAT_SM120_ALL)
  uint32_t codes;
  asm("{.reg .b8 a, b, c, d;"
      "cvt.rn.satfinite.e2m1x2.f32 a, %2, %1; cvt.rn.satfinite.e2m1x2.f32 b, %4, %3;"
      "cvt.rn.satfinite.e2m1x2.f32 c, %6, %5; cvt.rn.satfinite.e2m1x2.f32 d, %8, %7;"
      "mov.b32 %0, {a, b, c, d};}"
      : "=r"(codes)
      : "f"(x[first]), "f"(x[first + 1]), "f"(x[first + 2]), "f"(x[first + 3]), "f"(x[first + 4]),
        "f"(x[first + 5]), "f"(x[first + 6]), "f"(x[first + 7]));
  return codes;
#  else
  uint32_t codes = 0, signs = 0;
#    pragma unroll
  for (int i = first + 7; i >= first; --i) {
    const float a = kBounded ? fabsf(x[i]) : fminf(fabsf(x[i]), e2m1::kMax);
    const uint32_t exponent = e2m1_steps::exponent(a);
    const float sum = __fadd_rn(a, e2m1_steps::base(exponent));
    codes = codes * 16 + e2m1_steps::code(sum, exponent);
    signs = __funnelshift_l(std::bit_cast<uint32_t>(x[i]), signs, 4);
  }
  return e2m1_steps::nibbles(codes, signs);
#  endif
}

// The value of e2m1::encode(x), under the same condition.
__device__ inline float e2m1_round(float x) {
  const float a = fminf(fabsf(x), e2m1::kMax);
  const float base = e2m1_steps::base(e2m1_steps::exponent(a));
  return copysignf(__fsub_rn(__fadd_rn(a, base), base), x);
}

// e2m1::encode_tie_to_zero of 8 numbers from `first` on. The sum is rounded up, from half a step
// less; what is added to |x| only tells zero from minus one.
template <bool kBounded>
__device__ uint32_t e2m1_eight_tie_to_zero(const float (&x)[kRun], int first) {
  uint32_t codes = 0, signs = 0;
#  pragma unroll
  for (int i = first + 7; i >= first; --i) {
    const float bounded = kBounded ? fabsf(x[i]) : fminf(fabsf(x[i]), e2m1::kMax);
    const float a = __fadd_rn(bounded, 0x1p-126f);
    const uint32_t exponent = e2m1_steps::exponent(a);
    const uint32_t base = std::bit_cast<uint32_t>(e2m1_steps::base(exponent));
    const float sum = __fadd_ru(a, std::bit_cast<float>(base - 1));
    codes = codes * 16 + e2m1_steps::code(sum, exponent);
    const uint32_t bits = std::bit_cast<uint32_t>(x[i]);
    signs = __funnelshift_l(bits | (bits - 1), signs, 4);  // of zeros too
  }
  return e2m1_steps::nibbles(codes, signs);
}

// For each of the lower four nibbles a byte, odd where the nibble's bit 3 is set.
__device__ inline uint32_t nibble_signs(uint32_t nibbles) {
#  if defined(__CUDA_ARCH__)
  // Bit 3 of a selector spreads the sign of the byte that it selects: 0xFF then, else 0x80.
  uint32_t bytes;
  asm("prmt.b32 %0, %1, %1, %2;" : "=r"(bytes) : "r"(0x80808080u), "r"(nibbles));
  return bytes;
#  else
  uint32_t bytes = 0;
  for (int i = 0; i < 4; ++i)
    bytes |= (nibbles >> (4 * i + 3) & 1u) << (8 * i);
  return bytes;
#  endif
}

// e2m1::decode of 16 codes. The upper bytes of the values as binary16, whose lower ones are zero,
// are looked up four at a time.
__device__ inline void e2m1_values(const Nibbles& codes, float (&x)[kRun]) {
#  pragma unroll
  for (int i = 0; i < kRun; i += 4) {
    const uint32_t four = codes.at[i / 8] >> (i % 8 * 4);
    const uint32_t magnitude = __byte_perm(0x3E3C3800u, 0x46444240u, four & 0x7777u);
    const uint32_t bytes = magnitude | (nibble_signs(four) << 7 & 0x80808080u);
    unpack_halves(__byte_perm(bytes, 0, 0x1404u), x[i], x[i + 1]);
    unpack_halves(__byte_perm(bytes, 0, 0x3424u), x[i + 2], x[i + 3]);
  }
}

}  // namespace mopt::cuda

#endif
