// The whole program but for its process: words in, exit code out.
#pragma once

#include <string>
#include <vector>

#include "host/cli/process.hpp"

namespace mopt::cli {

// Never throws.
int run(const std::vector<std::string>& words, const Process&);

}  // namespace mopt::cli
