// Do quantized weights stand for those of the source? Their error is held against the one that
// their own format makes of the source.
#pragma once

#include <vector>

#include "host/pipeline/checkpoint.hpp"

namespace mopt::pipeline {

// One finding (V113) for each weight that does not. One weight is in memory at a time, three times
// as bf16.
std::vector<Diagnostic> compare_weights(const Checkpoint& ours, const Checkpoint& source);

}  // namespace mopt::pipeline
