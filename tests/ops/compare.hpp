// compare and support.
#pragma once

#include "tests/ops/harness.hpp"

namespace mopt::ops {

std::vector<std::string_view> kernels_of(const Op&, const Target&);
bool selected(const Op&, const Selection&);

// Prints what failed and a line for each kernel.
Score compare_ops(const Target&, const Selection&, Extent, int seeds);

// Prints a line for each problem and kernel: whether it takes it.
void print_support(const Target&, const Selection&);

}  // namespace mopt::ops
