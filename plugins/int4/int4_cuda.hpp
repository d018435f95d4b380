// The kernels of INT4 on a CUDA device: the functions of int4.hpp for whole tensors, with the same
// bytes. All pointers are of the device's memory; work is enqueued on the exec's stream.
#pragma once

#include "int4.hpp"
#include "mopt/plugin.hpp"

namespace mopt::int4::device {

void encode(const Exec& exec, Reals x, const Blocks& blocks, float* scales, uint8_t* codes);
void decode(const Exec& exec, const float* scales, const uint8_t* codes, const Blocks& blocks,
            RealsOut out);

}  // namespace mopt::int4::device
