// The errors of errors.hpp, from weights in a device's memory.
#pragma once

#include "host/pipeline/errors.hpp"
#include "host/pipeline/on_device.hpp"

namespace mopt::pipeline {

// Sums on their way from the device; ratio() once the queue's work has passed.
class PendingError {
 public:
  explicit PendingError(OnDevice&);
  double* parts() const { return reinterpret_cast<double*>(device_.get()); }
  void fetch();  // enqueues the copy to the CPU
  double ratio() const;

 private:
  OnDevice& on_;
  compute::Buffer device_, pinned_;
};

// What a layer's errors are measured with.
struct DeviceLayer {
  OnDevice& on;
  const QuantizedWeight& quantized;  // parts in the device's memory; exec is on.exec()
  compute::View weight;              // [rows, cols] there
};

PendingError weight_error_on_device(const DeviceLayer&);
// x [n, in] in the weight's type, or in the type that the model computes in.
PendingError output_error_on_device(const DeviceLayer&, const DLTensor& x,
                                    std::optional<float> input_scale);
// Chooses the kernels of output_error_on_device for an input [rows, in] of that type, on the queue
// of `options`. Nothing is run; the layer needs no parts.
void foresee_output_error(const QuantizedWeight&, DLDataType input, int64_t rows,
                          compute::Options options);

}  // namespace mopt::pipeline
