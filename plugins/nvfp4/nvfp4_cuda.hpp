// The kernels of NVFP4 on a CUDA device: the functions of nvfp4.hpp for whole tensors, with the
// same bytes. All pointers are of the device's memory; work is enqueued on the exec's stream.
#pragma once

#include "mopt/plugin.hpp"
#include "nvfp4.hpp"

namespace mopt::nvfp4::device {

struct Codes {
  float* global;     // []
  uint8_t* scales;   // [blocks.count]
  uint8_t* payload;  // [blocks.count * blocks.size / 2]
};

// Blocks of 16 or 32. blocks.global is also written to `to.global`.
void encode(const Exec& exec, Reals x, const Blocks& blocks, const Codes& to);
// blocks.global is ignored: it is `from.global`, in the device's memory.
void decode(const Exec& exec, const Codes& from, const Blocks& blocks, RealsOut out);

// Of inputs: with a known global scale, and with absmax / divisor of all elements.
void round_trip(const Exec& exec, Reals x, const Blocks& blocks, RealsOut out);
void round_trip_by_range(const Exec& exec, Reals x, const Blocks& blocks, float divisor,
                         RealsOut out);

}  // namespace mopt::nvfp4::device
