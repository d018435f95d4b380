// How far two kernels of one op may be apart: |a - b| <= relative * |b| + absolute, b the
// reference.
#pragma once

#include <string_view>

#include "mopt/tensor.hpp"

namespace mopt::compute {

struct Tolerance {
  std::string_view op;
  DLDataType dtype;
  float relative, absolute;
};

// Inputs of the tests are of magnitude 1. One bf16 step is at most 2^-7 of the value.
//
// (1) The absolute part is that of one product, times sqrt(K) for a sum of K. Hopper's FP8 tensor
// cores add 32 products to a partial sum with 13 bits behind the leading one of the largest, and
// cut off the rest (DeepSeek-V3, arXiv 2412.19437, section 3.3.2). Partial sums go to fp32 after
// 128 products: the largest is about 2, and what is cut off of each product 2^-13 * 2 / sqrt(3) =
// 1.4e-4 in the mean square, of either sign. 1e-3 is seven such deviations.
inline constexpr Tolerance kTolerances[] = {
    {"linear", kF32, 1e-5f, 2e-5f},       // order of a sum of up to 4096 products
    {"linear", kBf16, 8e-3f, 1e-3f},      // the same, before one rounding: one step
    {"codes", kF32, 1e-5f, 1e-3f},        // linear of codes (1)
    {"codes", kBf16, 8e-3f, 1e-3f},       // the same, before one rounding: one step
    {"embedding", kF32, 0.0f, 0.0f},      // a copy
    {"embedding", kBf16, 0.0f, 0.0f},     // a copy
    {"rms_norm", kF32, 1e-6f, 0.0f},      // order of the sum, fp64 in the reference
    {"rms_norm", kBf16, 1.6e-2f, 0.0f},   // two roundings, each may fall one step apart
    {"rope", kF32, 0.0f, 0.0f},           // the same products and sum, no freedom
    {"rope", kBf16, 0.0f, 0.0f},          // the same roundings
    {"attention", kF32, 1e-5f, 1e-6f},    // order of sums, exp within 2 ulp
    {"attention", kBf16, 8e-3f, 3e-3f},   // probabilities one step apart here and there
    {"kv_append", kF32, 0.0f, 0.0f},      // a copy
    {"kv_append", kBf16, 0.0f, 0.0f},     // a copy
    {"activation", kF32, 2e-6f, 4e-7f},   // exp and erf within 2 ulp; 1 + erf(-3) has few bits left
    {"activation", kBf16, 8e-3f, 4e-7f},  // the same, before one rounding: one step
    {"gate", kF32, 2e-6f, 2e-6f},         // as activation; the absolute part times a factor of 4
    {"gate", kBf16, 1.6e-2f, 2e-6f},      // two roundings, each may fall one step apart
    {"elementwise", kF32, 0.0f, 0.0f},    // one IEEE operation
    {"elementwise", kBf16, 0.0f, 0.0f},   // one IEEE operation and one rounding
    {"nll", kF32, 1e-6f, 1e-6f},          // exp within 2 ulp, sum in fp64
    {"divergence", kF32, 1e-5f, 2e-6f},   // the same, of two norms and each of their differences
    {"divergence", kBf16, 1e-5f, 2e-6f},  // the same: only the input is bf16
    {"nll", kBf16, 1e-6f, 1e-6f},         // the same: only the input is bf16
};

inline Tolerance tolerance(std::string_view op, DLDataType dtype) {
  for (const Tolerance& row : kTolerances) {
    if (row.op == op && same(row.dtype, dtype)) return row;
  }
  throw Error(MOPT_NOT_FOUND, "no tolerance for " + std::string(op) + " in " + dtype_name(dtype));
}

}  // namespace mopt::compute
