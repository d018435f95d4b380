// The kernels of MXFP4 and MXFP8 on a CUDA device: the functions of mxfp.hpp for whole tensors,
// with the same bytes. All pointers are of the device's memory; work is enqueued on the exec's
// stream.
#pragma once

#include "mopt/plugin.hpp"
#include "mxfp.hpp"

namespace mopt::mxfp::device {

void encode(const Exec& exec, Reals x, const Blocks& blocks, uint8_t* scales, uint8_t* codes);
void decode(const Exec& exec, const uint8_t* scales, const uint8_t* codes, const Blocks& blocks,
            RealsOut out);
void round_trip(const Exec& exec, Reals x, const Blocks& blocks, RealsOut out);

}  // namespace mopt::mxfp::device
