// The kernels of INT8 on a CUDA device: the functions of int8.hpp for whole tensors, with the same
// bytes. All pointers are of the device's memory; work is enqueued on the exec's stream.
#pragma once

#include "int8.hpp"
#include "mopt/plugin.hpp"

namespace mopt::int8::device {

struct Matrix {
  Reals x;
  int64_t rows, cols;
};

// One scale for all, which is also written to scale_out [].
void encode(const Exec& exec, const Matrix& w, float scale, float* scale_out, int8_t* codes);
// A bounded scale per row, [rows].
void encode_rows(const Exec& exec, const Matrix& w, float* scales, int8_t* codes);

enum class Scales { kOne, kPerRow };
void decode(const Exec& exec, const int8_t* codes, const float* scales, Scales layout, int64_t rows,
            int64_t cols, RealsOut out);

// Of inputs: with a known scale, with that of the range of all elements, and of each row.
void round_trip(const Exec& exec, const Matrix& x, float scale, RealsOut out);
void round_trip_by_range(const Exec& exec, const Matrix& x, RealsOut out);
void round_trip_rows(const Exec& exec, const Matrix& x, RealsOut out);

}  // namespace mopt::int8::device
