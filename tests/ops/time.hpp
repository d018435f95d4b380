// time: medians at the shapes of an 8B layer.
#pragma once

#include "tests/ops/encoders.hpp"
#include "tests/ops/harness.hpp"

namespace mopt::ops {

// Prints a table; `csv`, a file, gets the same, empty: none.
void time_all(const Target&, const Selection&, const EncoderPlugins&, const std::string& csv);

}  // namespace mopt::ops
