// absmax: the largest magnitude of a tensor, and where it first holds something that is no number.
#pragma once

#include "host/compute/dispatch.hpp"
#include "host/compute/view.hpp"

namespace mopt::compute {

struct AbsMax {
  float value = 0.0f;             // over the finite elements; 0 when there are none
  int64_t first_not_finite = -1;  // index of the first NaN or infinity, -1: none
};

// x in f32, bf16 or f16.
AbsMax absmax(const View& x, const Options& options = {});

struct AbsMaxProblem {
  View x;
  AbsMax* result;
};
std::vector<std::string_view> absmax_kernels();
void absmax_highway(const AbsMaxProblem&);
void absmax_reference(const AbsMaxProblem&);

}  // namespace mopt::compute
