// The kernels of FP8 on a CUDA device: the functions of fp8.hpp for whole tensors, with the same
// bytes. All pointers are of the device's memory; work is enqueued on the exec's stream.
#pragma once

#include "fp8.hpp"
#include "mopt/plugin.hpp"

namespace mopt::fp8::device {

struct Matrix {
  Reals x;
  int64_t rows, cols;
};

// One scale for n elements, which is also written to scale_out [].
void encode(const Exec& exec, Reals x, int64_t n, Divisor by, float* scale_out, uint8_t* codes);
// A bounded scale per row, [rows], or per tile, [ceil(rows / kTile), ceil(cols / kTile)].
void encode_rows(const Exec& exec, const Matrix& w, float* scales, uint8_t* codes);
void encode_tiles(const Exec& exec, const Matrix& w, float* scales, uint8_t* codes);

enum class Scales { kOne, kPerRow, kPerTile };
void decode(const Exec& exec, const uint8_t* codes, const float* scales, Scales layout,
            int64_t rows, int64_t cols, RealsOut out);

// Of inputs: with a known scale, with that of the range of all elements, and of each row.
void round_trip(const Exec& exec, Reals x, int64_t n, float scale, RealsOut out);
void round_trip_by_range(const Exec& exec, Reals x, int64_t n, RealsOut out);
void round_trip_rows(const Exec& exec, const Matrix& x, RealsOut out);
// The same as codes, with the scale, [], or those of the rows, [rows]. With a known one: encode.
void encode_by_range(const Exec& exec, Reals x, int64_t n, float* scale_out, uint8_t* codes);
void encode_tokens(const Exec& exec, const Matrix& x, float* scales, uint8_t* codes);

}  // namespace mopt::fp8::device
