// FP8: E4M3 codes and one float32 scale per tensor, row, token or tile. value = e4m3(code) * scale.
// Functions here know nothing of the ABI; each works on a run of elements that share one scale.
#pragma once

#include <cstdint>

#include "mopt/numeric/reals.hpp"

namespace mopt::fp8 {

inline constexpr int64_t kTile = 128;  // rows and columns of a block

// What is rounded before the quotient becomes a code. PyTorch divides a bf16 tensor by a scalar in
// bf16, which ModelOpt's per-tensor weights inherit; every other quotient is float32.
enum class Quotient { kF32, kSourceType };
struct Divisor {
  float scale;
  Quotient quotient = Quotient::kF32;
};

// max |x| of n elements.
float absmax(Reals x, int64_t n);
void encode(Reals x, int64_t n, Divisor by, uint8_t* codes);
void decode(const uint8_t* codes, int64_t n, float scale, RealsOut out);
// encode and decode in one: what a layer sees of its input.
void round_trip(Reals x, int64_t n, float scale, RealsOut out);

// The same, one element at a time: the definition that the functions above are tested against.
namespace reference {
float absmax(Reals x, int64_t n);
void encode(Reals x, int64_t n, Divisor by, uint8_t* codes);
void decode(const uint8_t* codes, int64_t n, float scale, RealsOut out);
void round_trip(Reals x, int64_t n, float scale, RealsOut out);
}  // namespace reference

}  // namespace mopt::fp8
