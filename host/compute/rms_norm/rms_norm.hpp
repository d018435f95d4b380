// rms_norm: y = weight * round(x / sqrt(mean(x^2) + eps)) over the last dimension, as Hugging
// Face's LlamaRMSNorm: computed in fp32, rounded to the model's type before the weight and after
// it.
#pragma once

#include "host/compute/dispatch.hpp"
#include "host/compute/view.hpp"

namespace mopt::compute {

struct RmsNormProblem {
  View x, weight;  // [..., C], [C]; one type
  float eps = 1e-6f;
  View y;  // x's shape and type; may be x
  // On a device, when not null: raised by y as range (range.hpp) would.
  uint32_t* range_parts = nullptr;
};

void rms_norm(const RmsNormProblem& problem, const Options& options = {});

std::vector<std::string_view> rms_norm_kernels();
void rms_norm_highway(const RmsNormProblem&);
void rms_norm_reference(const RmsNormProblem&);

}  // namespace mopt::compute
