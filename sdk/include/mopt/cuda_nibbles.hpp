// Sixteen codes of four bits, assembled in registers: E2M1 with either rule for ties, and back. For
// *_cuda.cu files.
#pragma once

#include "mopt/cuda_blocks.hpp"

#if defined(__CUDACC__) || defined(MOPT_CUDA_EMULATION)

#  if defined(__CUDA_ARCH_FEAT_SM100_ALL) || defined(__CUDA_ARCH_FEAT_SM120_ALL)
#    define MOPT_CUDA_CONVERTS_E2M1
#  endif

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

// e2m1::encode of 8 numbers from `first` on, each zero only without a sign.
__device__ inline uint32_t e2m1_eight(const float (&x)[kRun], int first) {
#  if defined(MOPT_CUDA_CONVERTS_E2M1)
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
    const float a = fminf(fabsf(x[i]), e2m1::kMax);
    const uint32_t exponent = e2m1_steps::exponent(a);
    const float sum = __fadd_rn(a, e2m1_steps::base(exponent));
    codes = codes * 16 + e2m1_steps::code(sum, exponent);
    signs = __funnelshift_l(std::bit_cast<uint32_t>(x[i]), signs, 4);
  }
  return e2m1_steps::nibbles(codes, signs);
#  endif
}

// The same of numbers below 7 that are given times kE2m1Unit. Where there is no conversion, the
// code is the least of |x| * 2, |x| + 2 and |x| / 2 + 4, each rounded to even: what becomes of
// numbers whose unit is the smallest binary16, in the conversion to it.
#  if defined(MOPT_CUDA_CONVERTS_E2M1) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900)
constexpr float kE2m1Unit = 1;
__device__ inline uint32_t e2m1_eight_units(const float (&x)[kRun], int first) {
  return e2m1_eight(x, first);
}
#  else
constexpr float kE2m1Unit = 0x1p-23f;

// min(a + more, b) of each half of the words, without a sign.
__device__ inline uint32_t sum_or_less(uint32_t a, uint32_t more, uint32_t b) {
#    if defined(__CUDA_ARCH__)
  return __viaddmin_u16x2(a, more, b);
#    else
  uint32_t least = 0;
  for (int shift = 0; shift < 32; shift += 16) {
    const uint32_t sum = ((a >> shift) + (more >> shift)) & 0xFFFFu, other = b >> shift & 0xFFFFu;
    least |= (sum < other ? sum : other) << shift;
  }
  return least;
#    endif
}

__device__ inline uint32_t e2m1_eight_units(const float (&x)[kRun], int first) {
  uint32_t all = 0;
#    pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float low = x[first + i], high = x[first + i + 4];
    const uint32_t fine = pack_two<F16>(low, high);
    const uint32_t middle = pack_two<F16>(__fmul_rn(low, 0.5f), __fmul_rn(high, 0.5f));
    const uint32_t coarse = pack_two<F16>(__fmul_rn(low, 0.25f), __fmul_rn(high, 0.25f));
    const uint32_t two = sum_or_less(coarse, 0x00040004u, sum_or_less(middle, 0x00020002u, fine));
    all |= __funnelshift_l(two, two, 4 * static_cast<uint32_t>(i));
  }
  // The signs, 12 bits above the codes, went around the end of the word.
  return (all & 0x77777777u) | (__funnelshift_r(all, all, 12) & 0x88888888u);
}
#  endif

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

// Of bf16 numbers x and a power of two: e2m1::encode_tie_to_zero(x * power) of 8 from `first` on,
// each at most 6 and above 2^-149 * 2^14 unless zero. `power` is given times 2^-14: this makes
// E2M1's codes the upper bits of the subnormal binary16, which hold the product exactly from 2^-3
// on. What is taken off tells zero from more.
__device__ inline uint32_t e2m1_eight_products(const float (&x)[kRun], int first, float power) {
  uint32_t codes = 0;
#  pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float low = __fmaf_rn(x[first + i], power, -0x1p-149f);
    const float high = __fmaf_rn(x[first + i + 4], power, -0x1p-149f);
    const uint32_t two = pack_two<F16>(low, high) + 0x00FF00FFu;  // a tie stays below
    const uint32_t nibbles = (two << 3 & 0x70007000u) | (two & 0x80008000u);
    codes |= nibbles >> (12 - 4 * i);
  }
  return codes;
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
