#include "host/compute/cuda/kernels.hpp"

namespace mopt::compute::cuda {

const DeviceKernels& cuda_kernels() {
  static const DeviceKernels kernels{activation_rows(), attention_rows(),    cast_rows(),
                                     divergence_rows(), elementwise_rows(),  embedding_rows(),
                                     gate_rows(),       kv_append_rows(),    linear_rows(),
                                     nll_rows(),        range_rows(),        rms_norm_rows(),
                                     rope_rows(),       squared_error_rows()};
  return kernels;
}

}  // namespace mopt::compute::cuda
