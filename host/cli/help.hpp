// Help texts, made from the grammar.
#pragma once

#include <string>

#include "host/cli/grammar.hpp"

namespace mopt::cli {

// At most `width` columns wide; beyond 100 lines would be hard to read, so no more than that.
std::string program_help(int width);
std::string command_help(const CommandSpec&, int width);

}  // namespace mopt::cli
