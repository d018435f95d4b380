// nll: the negative log likelihood of a target token under each row of logits.
#pragma once

#include "host/compute/dispatch.hpp"
#include "host/compute/view.hpp"

namespace mopt::compute {

// logits [..., V] in f32 or bf16; one target of [0, V) per row. Row i: log(sum(exp(logits))) minus
// the target's logit, in nats; exponentials in fp32, their sum in fp64. A NaN logit gives NaN.
std::vector<double> nll(const View& logits, std::span<const int64_t> targets,
                        const Options& options = {});

struct NllProblem {
  View logits;
  std::span<const int64_t> targets;
  double* result;
};
// The same on a device.
struct NllOnDevice {
  View logits;   // [rows, V]
  View targets;  // i64 [rows], of [0, V)
  View result;   // f64 [rows]
};
void nll(const NllOnDevice& problem, const Options& options);

std::vector<std::string_view> nll_kernels();
void nll_highway(const NllProblem&);
void nll_reference(const NllProblem&);

}  // namespace mopt::compute
