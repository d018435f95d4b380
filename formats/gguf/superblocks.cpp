#include "superblocks.hpp"

#include <array>
#include <cmath>
#include <cstring>

#include "mopt/numeric/fp16.hpp"

namespace mopt::gguf {
namespace {

constexpr int kSuper = 256;

float load_f16(const uint8_t* from) {
  uint16_t bits;
  std::memcpy(&bits, from, sizeof bits);
  return fp16::decode(bits);
}

// Sub-block i of Q4_K and Q5_K: eight 6-bit scales and minima in twelve bytes.
struct ScaleMin {
  float scale, min;
};
ScaleMin scale_min(const uint8_t* scales, int i) {
  if (i < 4) return {static_cast<float>(scales[i] & 63), static_cast<float>(scales[i + 4] & 63)};
  const int scale = (scales[i + 4] & 15) | (scales[i - 4] >> 6) << 4;
  const int min = (scales[i + 4] >> 4) | (scales[i] >> 6) << 4;
  return {static_cast<float>(scale), static_cast<float>(min)};
}

// Sixteen 6-bit scales of Q3_K, minus 32.
std::array<float, 16> q3_scales(const uint8_t* packed) {
  std::array<float, 16> out;
  for (size_t i = 0; i < 16; ++i) {
    const int low = i < 8 ? packed[i] & 15 : packed[i - 8] >> 4;
    const int high = packed[8 + i % 4] >> (2 * (i / 4)) & 3;
    out[i] = static_cast<float>((low | high << 4) - 32);
  }
  return out;
}

using Table = std::array<float, 16>;

// 32 elements through a table; the low nibble of byte j is element j, the high one j + 16.
void look_up(const uint8_t* codes, float d, const Table& table, float* to) {
  for (int j = 0; j < 16; ++j) {
    to[j] = d * table[codes[j] & 15];
    to[j + 16] = d * table[codes[j] >> 4];
  }
}

}  // namespace

void decode_q2_k(const uint8_t* from, int64_t n_blocks, float* to) {
  for (int64_t i = 0; i < n_blocks; ++i, from += 84) {
    const float d = load_f16(from + 80), dmin = load_f16(from + 82);
    // Group g of 16: half g / 8, shift 2 * (g / 2 % 4), bytes 16 * (g % 2) on.
    for (int g = 0; g < 16; ++g, to += 16) {
      const float scale = d * static_cast<float>(from[g] & 15);
      const float min = dmin * static_cast<float>(from[g] >> 4);
      const uint8_t* codes = from + 16 + 32 * (g / 8) + 16 * (g % 2);
      const int shift = 2 * (g / 2 % 4);
      for (int j = 0; j < 16; ++j)
        to[j] = scale * static_cast<float>(codes[j] >> shift & 3) - min;
    }
  }
}

void decode_q3_k(const uint8_t* from, int64_t n_blocks, float* to) {
  for (int64_t i = 0; i < n_blocks; ++i, from += 110) {
    const float d = load_f16(from + 108);
    const std::array<float, 16> scales = q3_scales(from + 96);
    for (int g = 0; g < 16; ++g, to += 16) {
      const float scale = d * scales[static_cast<size_t>(g)];
      const uint8_t* codes = from + 32 + 32 * (g / 8) + 16 * (g % 2);
      const uint8_t* high = from + 16 * (g % 2);
      const int shift = 2 * (g / 2 % 4), bit = g / 2;
      for (int j = 0; j < 16; ++j) {
        const int code = (codes[j] >> shift & 3) - 4 * (1 - (high[j] >> bit & 1));
        to[j] = scale * static_cast<float>(code);
      }
    }
  }
}

void decode_q4_k(const uint8_t* from, int64_t n_blocks, float* to) {
  for (int64_t i = 0; i < n_blocks; ++i, from += 144) {
    const float d = load_f16(from), dmin = load_f16(from + 2);
    for (int sub = 0; sub < 8; ++sub, to += 32) {
      const ScaleMin sm = scale_min(from + 4, sub);
      const float scale = d * sm.scale, min = dmin * sm.min;
      const uint8_t* codes = from + 16 + 32 * (sub / 2);
      const int shift = 4 * (sub % 2);
      for (int j = 0; j < 32; ++j)
        to[j] = scale * static_cast<float>(codes[j] >> shift & 15) - min;
    }
  }
}

void decode_q5_k(const uint8_t* from, int64_t n_blocks, float* to) {
  for (int64_t i = 0; i < n_blocks; ++i, from += 176) {
    const float d = load_f16(from), dmin = load_f16(from + 2);
    const uint8_t* high = from + 16;
    for (int sub = 0; sub < 8; ++sub, to += 32) {
      const ScaleMin sm = scale_min(from + 4, sub);
      const float scale = d * sm.scale, min = dmin * sm.min;
      const uint8_t* codes = from + 48 + 32 * (sub / 2);
      const int shift = 4 * (sub % 2);
      for (int j = 0; j < 32; ++j) {
        const int code = (codes[j] >> shift & 15) | (high[j] >> sub & 1) << 4;
        to[j] = scale * static_cast<float>(code) - min;
      }
    }
  }
}

void decode_q6_k(const uint8_t* from, int64_t n_blocks, float* to) {
  for (int64_t i = 0; i < n_blocks; ++i, from += 210, to += kSuper) {
    const float d = load_f16(from + 208);
    // Group g of 16: half g / 8; quarter of that half g / 2 % 4 picks nibble and pair of high bits.
    for (int g = 0; g < 16; ++g) {
      const int half = g / 8, quarter = g / 2 % 4, first = 16 * (g % 2);
      const uint8_t* low = from + 64 * half + 32 * (quarter % 2) + first;
      const uint8_t* high = from + 128 + 32 * half + first;
      const float scale = d * static_cast<float>(static_cast<int8_t>(from[192 + g]));
      for (int j = 0; j < 16; ++j) {
        const int code = (low[j] >> (4 * (quarter / 2)) & 15) | (high[j] >> (2 * quarter) & 3) << 4;
        to[16 * g + j] = scale * static_cast<float>(code - 32);
      }
    }
  }
}

void decode_iq4_nl(const uint8_t* from, int64_t n_blocks, float* to) {
  constexpr Table kTable = {-127, -104, -83, -65, -49, -35, -22, -10,
                            1,    13,   25,  38,  53,  69,  89,  113};
  for (int64_t i = 0; i < n_blocks; ++i, from += 18, to += 32) {
    look_up(from + 2, load_f16(from), kTable, to);
  }
}

void decode_mxfp4(const uint8_t* from, int64_t n_blocks, float* to) {
  constexpr Table kTable = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
  for (int64_t i = 0; i < n_blocks; ++i, from += 17, to += 32) {
    look_up(from + 1, std::ldexp(1.0f, from[0] - 128), kTable, to);
  }
}

}  // namespace mopt::gguf
