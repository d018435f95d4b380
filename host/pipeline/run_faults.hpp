// How a run ends that cannot go on: by a Failure that says what is at fault and what to do.
#pragma once

#include <functional>

#include "host/pipeline/output.hpp"
#include "host/pipeline/run.hpp"

namespace mopt::pipeline {

// Calls `execute`. What a device, a full disk or a file throws becomes a Failure: R102, R103, R106,
// R109; anything else passes.
Report with_named_faults(const RunRequest&, const OutputDirectory&,
                         const std::function<Report()>& execute);

}  // namespace mopt::pipeline
