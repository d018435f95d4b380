// cast: between f32, bf16 and f16, round to nearest even; beyond the range infinity; NaN stays NaN.
#pragma once

#include "host/compute/dispatch.hpp"
#include "host/compute/view.hpp"

namespace mopt::compute {

struct CastProblem {
  View x, y;  // one number of elements, any of the three types each; memory does not overlap
};

void cast(const View& x, const View& y, const Options& options = {});

std::vector<std::string_view> cast_kernels();
void cast_highway(const CastProblem&);
void cast_reference(const CastProblem&);

}  // namespace mopt::compute
