// INT4: symmetric codes, one float32 scale per block along a row. value = code * scale.
// Functions here know nothing of the ABI. Blocks are consecutive: a row is a whole number of
// blocks.
#pragma once

#include <cstdint>

#include "mopt/numeric/reals.hpp"

namespace mopt::int4 {

struct Blocks {
  int64_t count;
  int64_t size;  // elements, even
};

// x [count * size] -> scales [count], codes [count * size / 2], element 0 in the low nibble.
void encode(Reals x, const Blocks& blocks, float* scales, uint8_t* codes);
void decode(const float* scales, const uint8_t* codes, const Blocks& blocks, RealsOut out);

// The same, one element at a time: the definition that the functions above are tested against.
namespace reference {
void encode(Reals x, const Blocks& blocks, float* scales, uint8_t* codes);
void decode(const float* scales, const uint8_t* codes, const Blocks& blocks, RealsOut out);
// `n` elements with one scale; n is even.
void encode_run(Reals x, int64_t n, float scale, uint8_t* codes);
void decode_run(const uint8_t* codes, int64_t n, float scale, RealsOut out);
}  // namespace reference

}  // namespace mopt::int4
