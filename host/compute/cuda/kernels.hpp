// The tables of this library: one function per op, in <op>/<op>_cuda.cu.
#pragma once

#include "host/compute/device_kernels.hpp"

namespace mopt::compute::cuda {

DeviceRows<ActivationProblem> activation_rows();
DeviceRows<AttentionProblem> attention_rows();
DeviceRows<CastProblem> cast_rows();
DeviceRows<DivergenceProblem> divergence_rows();
DeviceRows<ElementwiseProblem> elementwise_rows();
DeviceRows<EmbeddingProblem> embedding_rows();
DeviceRows<GateProblem> gate_rows();
DeviceRows<KvAppendProblem> kv_append_rows();
DeviceRows<LinearCall> linear_rows();
DeviceRows<NllOnDevice> nll_rows();
DeviceRows<RangeProblem> range_rows();
DeviceRows<RmsNormProblem> rms_norm_rows();
DeviceRows<RopeLookup> rope_rows();
DeviceRows<SquaredErrorProblem> squared_error_rows();

// linear_cublaslt.cpp
std::string_view linear_cublaslt_refuses(const LinearCall&, const DeviceInfo&);
void linear_cublaslt(const LinearCall&, Queue&);
// linear_cuda.cu: writes the only element of `scale` to all of `rows`, both f32.
void repeat_scale(const View& scale, const View& rows, Queue&);
// attention_cudnn.cpp
std::string_view attention_cudnn_refuses(const AttentionProblem&, const DeviceInfo&);
void attention_cudnn(const AttentionProblem&, Queue&);
// attention_decode_cuda.cu
std::string_view attention_decode_refuses(const AttentionProblem&, const DeviceInfo&);
void attention_decode(const AttentionProblem&, Queue&);

const DeviceKernels& cuda_kernels();

}  // namespace mopt::compute::cuda
