#include "blocks.hpp"

#include <array>
#include <cstring>

#include "mopt/numeric/bf16.hpp"
#include "mopt/numeric/fp16.hpp"

namespace mopt::gguf {
namespace {

constexpr int kBlock = 32;

template <class T>
T load(const uint8_t* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

float load_f16(const uint8_t* from) {
  return fp16::decode(load<uint16_t>(from));
}

using Codes = std::array<uint8_t, kBlock>;

// 16 bytes of nibbles to 32 codes.
Codes nibbles(const uint8_t* packed) {
  Codes codes;
  for (size_t j = 0; j < 16; ++j) {
    codes[j] = packed[j] & 15;
    codes[j + 16] = packed[j] >> 4;
  }
  return codes;
}

// Adds 16 times bit j of `high` to codes[j]. Eight bits at a time are spread over eight bytes: each
// byte keeps its own bit, the sum with 0x7F carries it to the byte's top, a shift brings it to 16.
void add_high_bits(uint32_t high, Codes& codes) {
  constexpr uint64_t kOnes = 0x0101010101010101u;
  for (size_t group = 0; group < 4; ++group) {
    const uint64_t spread = (high >> (8 * group) & 0xFF) * kOnes & 0x8040201008040201u;
    const uint64_t bits = ((spread + 0x7F * kOnes) >> 3) & 0x10 * kOnes;
    uint64_t eight;
    std::memcpy(&eight, &codes[8 * group], 8);
    eight |= bits;
    std::memcpy(&codes[8 * group], &eight, 8);
  }
}

void scale_centred(const Codes& codes, float d, int centre, float* to) {
  for (size_t j = 0; j < kBlock; ++j)
    to[j] = d * static_cast<float>(codes[j] - centre);
}
void scale_shifted(const Codes& codes, float d, float m, float* to) {
  for (size_t j = 0; j < kBlock; ++j)
    to[j] = d * static_cast<float>(codes[j]) + m;
}

}  // namespace

void decode_q4_0(const uint8_t* from, int64_t n_blocks, float* to) {
  for (int64_t i = 0; i < n_blocks; ++i, from += 18, to += kBlock) {
    scale_centred(nibbles(from + 2), load_f16(from), 8, to);
  }
}

void decode_q4_1(const uint8_t* from, int64_t n_blocks, float* to) {
  for (int64_t i = 0; i < n_blocks; ++i, from += 20, to += kBlock) {
    scale_shifted(nibbles(from + 4), load_f16(from), load_f16(from + 2), to);
  }
}

void decode_q5_0(const uint8_t* from, int64_t n_blocks, float* to) {
  for (int64_t i = 0; i < n_blocks; ++i, from += 22, to += kBlock) {
    Codes codes = nibbles(from + 6);
    add_high_bits(load<uint32_t>(from + 2), codes);
    scale_centred(codes, load_f16(from), 16, to);
  }
}

void decode_q5_1(const uint8_t* from, int64_t n_blocks, float* to) {
  for (int64_t i = 0; i < n_blocks; ++i, from += 24, to += kBlock) {
    Codes codes = nibbles(from + 8);
    add_high_bits(load<uint32_t>(from + 4), codes);
    scale_shifted(codes, load_f16(from), load_f16(from + 2), to);
  }
}

void decode_q8_0(const uint8_t* from, int64_t n_blocks, float* to) {
  for (int64_t i = 0; i < n_blocks; ++i, from += 34, to += kBlock) {
    const float d = load_f16(from);
    for (int j = 0; j < kBlock; ++j) {
      to[j] = d * static_cast<float>(static_cast<int8_t>(from[2 + j]));
    }
  }
}

void decode_f32(const uint8_t* from, int64_t n, float* to) {
  std::memcpy(to, from, static_cast<size_t>(n) * 4);
}
void decode_f16(const uint8_t* from, int64_t n, float* to) {
  for (int64_t i = 0; i < n; ++i)
    to[i] = load_f16(from + 2 * i);
}
void decode_bf16(const uint8_t* from, int64_t n, float* to) {
  for (int64_t i = 0; i < n; ++i)
    to[i] = bf16::decode(load<uint16_t>(from + 2 * i));
}
void decode_f64(const uint8_t* from, int64_t n, float* to) {
  for (int64_t i = 0; i < n; ++i)
    to[i] = static_cast<float>(load<double>(from + 8 * i));
}

}  // namespace mopt::gguf
