// INT8: symmetric codes and one float32 scale per row, tensor or token. value = code * scale.
// Functions here know nothing of the ABI; each works on a run of elements that share one scale.
#pragma once

#include <cstdint>

#include "mopt/numeric/reals.hpp"

namespace mopt::int8 {

// max |x| of n elements.
float absmax(Reals x, int64_t n);
// The quotient is float32, whatever the source's type.
void encode(Reals x, int64_t n, float scale, int8_t* codes);
void decode(const int8_t* codes, int64_t n, float scale, RealsOut out);
// encode and decode in one: what a layer sees of its input. NaN stays NaN.
void round_trip(Reals x, int64_t n, float scale, RealsOut out);

// The same, one element at a time: the definition that the functions above are tested against.
namespace reference {
float absmax(Reals x, int64_t n);
void encode(Reals x, int64_t n, float scale, int8_t* codes);
void decode(const int8_t* codes, int64_t n, float scale, RealsOut out);
void round_trip(Reals x, int64_t n, float scale, RealsOut out);
}  // namespace reference

}  // namespace mopt::int8
