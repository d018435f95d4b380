// Ranges and the scales made from them, by the rules of the original implementation.
#pragma once

#include "mopt/numeric/reals.hpp"

namespace mopt {

// max |x| of n elements, one at a time.
template <class T>
constexpr float absmax_of(const T* x, int64_t n) {
  float most = 0;
  for (int64_t i = 0; i < n; ++i) {
    const float value = to_float(x[i]);
    const float a = value < 0 ? -value : value;
    most = a > most ? a : most;
  }
  return most;
}

// absmax / bound, where bound is the element's largest value; 1 where that is zero.
constexpr float scale_of(float absmax, float bound) {
  const float scale = absmax / bound;
  return scale > 0 ? scale : 1.0f;
}

// The scale of a row or block: absmax is first raised to the smallest normal number of the source's
// type, so that the scale is above zero however small the elements are.
constexpr float bounded_scale(float absmax, float bound, Real source) {
  const float tiny = source == Real::kF16 ? fp16::kMinNormal : 0x1p-126f;
  if (absmax == 0) return 1.0f;
  return (absmax < tiny ? tiny : absmax) / bound;
}

// Rows per task of a loop over rows: about 64 Ki elements, whatever the number of threads.
constexpr int64_t rows_per_task(int64_t cols) {
  return cols >= 65536 ? 1 : 65536 / (cols > 0 ? cols : 1);
}

}  // namespace mopt
