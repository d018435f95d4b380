// Which engines take a checkpoint, as a table.
#pragma once

#include <string>
#include <vector>

#include "host/loader/components.hpp"

namespace mopt::cli {

std::string engines_text(const std::vector<EngineVerdict>&, int width);

}  // namespace mopt::cli
