// MXFP4 and MXFP8: E2M1 or E4M3 codes and one power of two (E8M0) per 32 elements of a row.
//   value = element(code) * 2^(scale - 127)
// Functions here know nothing of the ABI. Blocks are consecutive: a row is a whole number of
// blocks.
#pragma once

#include <cstdint>

#include "mopt/numeric/reals.hpp"

namespace mopt::mxfp {

inline constexpr int64_t kBlock = 32;

enum class Element { kE2m1, kE4m3 };
struct Blocks {
  int64_t count;
  Element element;
};

constexpr int64_t code_bytes(Element element) {
  return element == Element::kE2m1 ? kBlock / 2 : kBlock;
}

// x [32 count] -> scales [count], codes [count * code_bytes], E2M1 with element 0 in the low
// nibble.
void encode(Reals x, const Blocks& blocks, uint8_t* scales, uint8_t* codes);
void decode(const uint8_t* scales, const uint8_t* codes, const Blocks& blocks, RealsOut out);
// encode and decode in one: what a layer sees of its input.
void round_trip(Reals x, const Blocks& blocks, RealsOut out);

// The same, one element at a time: the definition that the functions above are tested against.
namespace reference {
void encode(Reals x, const Blocks& blocks, uint8_t* scales, uint8_t* codes);
void decode(const uint8_t* scales, const uint8_t* codes, const Blocks& blocks, RealsOut out);
void round_trip(Reals x, const Blocks& blocks, RealsOut out);
}  // namespace reference

}  // namespace mopt::mxfp
