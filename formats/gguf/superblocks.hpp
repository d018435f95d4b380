// Decoders of GGUF's K types (blocks of 256 elements with scales of their own) and of two table
// types. The order of the float32 operations is ggml's, so results are equal bit for bit.
//
//   Q2_K    scales u8[16], codes[64], d f16, dmin f16          d * sc * code - dmin * min
//   Q3_K    high[32], codes[64], scales[12], d f16             d * (sc - 32) * (code - 4)
//   Q4_K    d f16, dmin f16, scales[12], codes[128]            d * sc * code - dmin * min
//   Q5_K    d f16, dmin f16, scales[12], high[32], codes[128]  d * sc * code - dmin * min
//   Q6_K    low[128], high[64], scales i8[16], d f16           d * sc * (code - 32)
//   IQ4_NL  d f16, codes[16]                                   d * table[code]
//   MXFP4   e u8, codes[16]                                    2^(e - 128) * table[code]
#pragma once

#include <cstdint>

namespace mopt::gguf {

void decode_q2_k(const uint8_t* from, int64_t n_blocks, float* to);
void decode_q3_k(const uint8_t* from, int64_t n_blocks, float* to);
void decode_q4_k(const uint8_t* from, int64_t n_blocks, float* to);
void decode_q5_k(const uint8_t* from, int64_t n_blocks, float* to);
void decode_q6_k(const uint8_t* from, int64_t n_blocks, float* to);
void decode_iq4_nl(const uint8_t* from, int64_t n_blocks, float* to);
void decode_mxfp4(const uint8_t* from, int64_t n_blocks, float* to);

}  // namespace mopt::gguf
