// NVFP4: E2M1 codes, one E4M3 scale per block along a row, one float32 scale per tensor.
//   value = e2m1(code) * (e4m3(scale) * global)
// Functions here know nothing of the ABI. Blocks are consecutive: a row is a whole number of
// blocks.
#pragma once

#include <cstdint>

#include "mopt/numeric/reals.hpp"

namespace mopt::nvfp4 {

struct Blocks {
  int64_t count;
  int64_t size;  // elements, a multiple of 16
  float global;
};

// max |x| of n elements.
float absmax(Reals x, int64_t n);

// x [count * size] -> scales [count] E4M3, codes [count * size / 2], element 0 in the low nibble.
void encode(Reals x, const Blocks& blocks, uint8_t* scales, uint8_t* codes);
void decode(const uint8_t* scales, const uint8_t* codes, const Blocks& blocks, RealsOut out);
// encode and decode in one: what a layer sees of its input.
void round_trip(Reals x, const Blocks& blocks, RealsOut out);

// The same, one element at a time: the definition that the functions above are tested against.
namespace reference {
float absmax(Reals x, int64_t n);
void encode(Reals x, const Blocks& blocks, uint8_t* scales, uint8_t* codes);
void decode(const uint8_t* scales, const uint8_t* codes, const Blocks& blocks, RealsOut out);
void round_trip(Reals x, const Blocks& blocks, RealsOut out);
}  // namespace reference

}  // namespace mopt::nvfp4
