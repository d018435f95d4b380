// squared_error: sums of (a - b)^2 and b^2, on a device.
#pragma once

#include <span>

#include "host/compute/dispatch.hpp"
#include "host/compute/view.hpp"

namespace mopt::compute {

// Pairs of sums: pair i is of the i-th of as many groups of a kernel's threads, added in order by
// whoever reads them.
inline constexpr int64_t kErrorParts = 512;

struct SquaredErrorProblem {
  View a, b;      // f32, bf16 or f16, one number of elements
  double* parts;  // [kErrorParts, 2] on the device, added to: differences, originals
};

// parts begin as zeros.
void squared_error(const SquaredErrorProblem& problem, const Options& options);

struct SquaredError {
  double difference = 0, original = 0;
};
SquaredError squared_error_of(std::span<const double> parts);

}  // namespace mopt::compute
