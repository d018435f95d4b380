// The last stage before a run: does the machine have what the plan needs.
#pragma once

#include <cstdint>
#include <optional>

#include "host/pipeline/prepare.hpp"

namespace mopt::pipeline {

// Throws Failure (R101) when the plan's peak of memory is above `limit`, or above what the machine
// or the control group of this process has.
void check_memory(const Prepared&, std::optional<uint64_t> limit);

}  // namespace mopt::pipeline
