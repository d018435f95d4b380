// Errors of the CUDA runtime as mopt::Error.
#pragma once

#include <cuda_runtime.h>

#include <string>

#include "mopt/error.hpp"

namespace mopt::compute::cuda {

// MOPT_OUT_OF_MEMORY for a lack of memory, else MOPT_DEVICE: the device is lost for this process.
inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  const bool memory = status == cudaErrorMemoryAllocation;
  throw Error(
      memory ? MOPT_OUT_OF_MEMORY : MOPT_DEVICE,
      std::string(what) + ": " + cudaGetErrorName(status) + ", " + cudaGetErrorString(status));
}

}  // namespace mopt::compute::cuda
