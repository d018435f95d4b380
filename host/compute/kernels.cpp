#include "host/compute/kernels.hpp"

#include "host/compute/absmax/absmax.hpp"
#include "host/compute/activation/activation.hpp"
#include "host/compute/attention/attention.hpp"
#include "host/compute/cast/cast.hpp"
#include "host/compute/divergence/divergence.hpp"
#include "host/compute/elementwise/elementwise.hpp"
#include "host/compute/embedding/embedding.hpp"
#include "host/compute/gate/gate.hpp"
#include "host/compute/linear/linear.hpp"
#include "host/compute/nll/nll.hpp"
#include "host/compute/rms_norm/rms_norm.hpp"
#include "host/compute/rope/rope.hpp"

namespace mopt::compute {

std::vector<std::string_view> all_kernels() {
  std::vector<std::string_view> out;
  for (const auto& op : {absmax_kernels, activation_kernels, attention_kernels, cast_kernels,
                         divergence_kernels, elementwise_kernels, embedding_kernels, gate_kernels,
                         linear_kernels, nll_kernels, rms_norm_kernels, rope_kernels}) {
    for (const std::string_view name : op())
      out.push_back(name);
  }
  return out;
}

}  // namespace mopt::compute
