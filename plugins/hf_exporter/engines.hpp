// Which inference engines read what was described, with reasons.
#pragma once

#include <string>
#include <vector>

#include "metadata.hpp"

namespace mopt::hf {

struct Verdict {
  std::string engine, verdict, reason;  // verdict: "takes", "refuses", "unknown"
};

// `uneven_tile`: a weight in 128x128 tiles whose sides are not multiples of 128; empty if there is
// none.
std::vector<Verdict> verdicts(const Description& description, const std::string& uneven_tile);

}  // namespace mopt::hf
