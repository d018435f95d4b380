#include "host/compute/squared_error/squared_error.hpp"

#include "host/compute/device_kernels.hpp"

namespace mopt::compute {

void squared_error(const SquaredErrorProblem& p, const Options& options) {
  require(p.a.elements() == p.b.elements(), "squared_error", "as many elements as " + text(p.b),
          p.a);
  run_on_device(&DeviceKernels::squared_error, p, options);
}

SquaredError squared_error_of(std::span<const double> parts) {
  SquaredError sums;
  for (size_t i = 0; i + 1 < parts.size(); i += 2) {
    sums.difference += parts[i];
    sums.original += parts[i + 1];
  }
  return sums;
}

}  // namespace mopt::compute
