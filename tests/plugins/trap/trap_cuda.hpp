// The kernels of trap: the bytes of its CPU path, on the exec's stream.
#pragma once

#include "mopt/numeric/reals.hpp"
#include "mopt/plugin.hpp"

namespace mopt::trap::device {

enum class Kernel {
  kSound,
  kBroken,  // the device is lost for this process, after the call has returned
};
// Rows with a bounded scale each, [rows].
void encode(const Exec&, Reals w, int64_t rows, int64_t cols, Kernel, float* scales, int8_t* codes);
void decode(const Exec&, const int8_t* codes, const float* scales, int64_t rows, int64_t cols,
            RealsOut out);

}  // namespace mopt::trap::device
