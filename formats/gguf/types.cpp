#include "types.hpp"

#include "blocks.hpp"
#include "superblocks.hpp"

namespace mopt::gguf {
namespace {

constexpr DLDataType kCodes{kDLUInt, 0, 1};

// Ids 4 and 5 (Q4_2, Q4_3) and 31 to 33, 36 to 38 (repacked Q4_0, IQ4_NL) were withdrawn by ggml.
constexpr Type kTypes[] = {
    {0, "F32", 1, 4, decode_f32, kF32},
    {1, "F16", 1, 2, decode_f16, kF16},
    {2, "Q4_0", 32, 18, decode_q4_0, kCodes},
    {3, "Q4_1", 32, 20, decode_q4_1, kCodes},
    {6, "Q5_0", 32, 22, decode_q5_0, kCodes},
    {7, "Q5_1", 32, 24, decode_q5_1, kCodes},
    {8, "Q8_0", 32, 34, decode_q8_0, kCodes},
    {9, "Q8_1", 32, 36, nullptr, kCodes},
    {10, "Q2_K", 256, 84, decode_q2_k, kCodes},
    {11, "Q3_K", 256, 110, decode_q3_k, kCodes},
    {12, "Q4_K", 256, 144, decode_q4_k, kCodes},
    {13, "Q5_K", 256, 176, decode_q5_k, kCodes},
    {14, "Q6_K", 256, 210, decode_q6_k, kCodes},
    {15, "Q8_K", 256, 292, nullptr, kCodes},
    {16, "IQ2_XXS", 256, 66, nullptr, kCodes},
    {17, "IQ2_XS", 256, 74, nullptr, kCodes},
    {18, "IQ3_XXS", 256, 98, nullptr, kCodes},
    {19, "IQ1_S", 256, 50, nullptr, kCodes},
    {20, "IQ4_NL", 32, 18, decode_iq4_nl, kCodes},
    {21, "IQ3_S", 256, 110, nullptr, kCodes},
    {22, "IQ2_S", 256, 82, nullptr, kCodes},
    {23, "IQ4_XS", 256, 136, nullptr, kCodes},
    {24, "I8", 1, 1, nullptr, kI8},
    {25, "I16", 1, 2, nullptr, kI16},
    {26, "I32", 1, 4, nullptr, kI32},
    {27, "I64", 1, 8, nullptr, kI64},
    {28, "F64", 1, 8, decode_f64, kF64},
    {29, "IQ1_M", 256, 56, nullptr, kCodes},
    {30, "BF16", 1, 2, decode_bf16, kBf16},
    {34, "TQ1_0", 256, 54, nullptr, kCodes},
    {35, "TQ2_0", 256, 66, nullptr, kCodes},
    {39, "MXFP4", 32, 17, decode_mxfp4, kCodes},
    {40, "NVFP4", 64, 36, nullptr, kCodes},
    {41, "Q1_0", 128, 18, nullptr, kCodes},
    {42, "Q2_0", 64, 18, nullptr, kCodes},
};

}  // namespace

const Type* find_type(uint32_t id) {
  for (const Type& type : kTypes) {
    if (type.id == id) return &type;
  }
  return nullptr;
}

}  // namespace mopt::gguf
