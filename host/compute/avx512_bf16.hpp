// The AVX512_BF16 instructions, which Highway 1.0 does not have. Callers carry MOPT_AVX512_BF16 too
// and run only where has_avx512_bf16().
#pragma once

#if defined(__x86_64__)
#  include <immintrin.h>

#  include <cstdint>
#  include <cstring>

#  define MOPT_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))

namespace mopt::compute {

inline bool has_avx512_bf16() {
  static const bool answer = __builtin_cpu_supports("avx512bf16") != 0;
  return answer;
}

// 16 times the pair of bf16 numbers at p.
__attribute__((always_inline)) MOPT_AVX512_BF16 inline __m512i broadcast_pair(const void* p) {
  int32_t pair = 0;
  std::memcpy(&pair, p, sizeof pair);
  return _mm512_set1_epi32(pair);
}

// sum[i] + a[2i] b[2i] + a[2i+1] b[2i+1]; subnormal numbers count as zero.
__attribute__((always_inline)) MOPT_AVX512_BF16 inline __m512 add_pairs(__m512 sum, __m512i a,
                                                                        __m512i b) {
  return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
}

// 16 bf16 numbers, rounded to nearest even.
__attribute__((always_inline)) MOPT_AVX512_BF16 inline __m256i round_to_bf16(__m512 x) {
  return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x));
}

}  // namespace mopt::compute
#else
namespace mopt::compute {
inline bool has_avx512_bf16() {
  return false;
}
}  // namespace mopt::compute
#endif
