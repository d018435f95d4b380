// divergence: how far the distribution under one row of logits is from that under another.
#pragma once

#include "host/compute/dispatch.hpp"
#include "host/compute/view.hpp"

namespace mopt::compute {

// Row i of the result: KL(reference || ours) = sum(p * (log p - log q)) in nats, p and q the
// softmax of the reference and of ours, and 1 where both favour the same token, else 0. Of equal
// logits the first is favoured; what p rules out adds nothing; a NaN in either row gives NaN and 0.
// Exponentials in fp32, sums in fp64.
struct DivergenceProblem {
  View ours, reference;  // [rows, V], f32 or bf16, one type
  View result;           // f64 [rows, 2]
};
// Where options.queue says: on its device, or on the CPU.
void divergence(const DivergenceProblem&, const Options& options = {});

std::vector<std::string_view> divergence_kernels();
void divergence_reference(const DivergenceProblem&);

}  // namespace mopt::compute
