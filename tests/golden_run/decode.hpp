// Weights from the bytes of an export, by the formulas of the formats alone; for weight-only
// formats.
#pragma once

#include <cstdint>

#include "tests/golden.hpp"

namespace mopt::test {

float decode_e4m3(uint8_t code);  // OCP FP8 E4M3: bias 7, no infinity, NaN is s1111111
float decode_e2m1(uint8_t code);  // OCP MX: 0 0.5 1 1.5 2 3 4 6

// Each `x.weight` with its scales becomes one F32 tensor `x.weight`; every other tensor stays.
// Throws on a payload that it does not know.
Tensors decode_export(const Tensors& written);

}  // namespace mopt::test
