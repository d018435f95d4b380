// What the cuDNN part, a library of its own, offers: it is loaded when attention first asks.
#pragma once

#include <functional>
#include <string>

#include "host/compute/attention/attention.hpp"

namespace mopt::compute::cuda {

struct CudnnCall {
  const AttentionProblem& problem;
  void* stream;  // CUstream
  // Device memory for the call, at least so many bytes.
  std::function<void*(int64_t)> workspace;
};

struct CudnnPart {
  const char* build;  // as in CudaPart
  // Empty: it can run. Plans are made and kept here.
  std::string_view (*refuses)(const AttentionProblem&);
  void (*run)(const CudnnCall&);
};
inline constexpr const char* kCudnnPartSymbol = "mopt_cudnn_part";

}  // namespace mopt::compute::cuda
