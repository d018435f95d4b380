// Decoders of GGUF's block types, to float32. The formulas are ggml's: one product and at most one
// sum in float32, no contraction, so that results are equal bit for bit.
//
//   Q4_0  d f16, codes[16]            d * (code - 8)
//   Q4_1  d f16, m f16, codes[16]     d * code + m
//   Q5_0  d f16, high u32, codes[16]  d * (code - 16)     bit j of high is the fifth bit of element
//   j Q5_1  d, m f16, high, codes[16]   d * code + m Q8_0  d f16, codes i8[32]         d * code
//
// A block has 32 elements; the low nibble of codes[j] is element j, the high one element j + 16.
#pragma once

#include <cstdint>

namespace mopt::gguf {

void decode_q4_0(const uint8_t* from, int64_t n_blocks, float* to);
void decode_q4_1(const uint8_t* from, int64_t n_blocks, float* to);
void decode_q5_0(const uint8_t* from, int64_t n_blocks, float* to);
void decode_q5_1(const uint8_t* from, int64_t n_blocks, float* to);
void decode_q8_0(const uint8_t* from, int64_t n_blocks, float* to);

// Types whose block is one element.
void decode_f32(const uint8_t* from, int64_t n, float* to);
void decode_f16(const uint8_t* from, int64_t n, float* to);
void decode_bf16(const uint8_t* from, int64_t n, float* to);
void decode_f64(const uint8_t* from, int64_t n, float* to);

}  // namespace mopt::gguf
