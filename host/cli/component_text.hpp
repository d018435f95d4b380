// Components and their options in words, from what they declare.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "host/cli/layout.hpp"
#include "mopt/plugin.h"

namespace mopt::cli {

// "mopt.quantizer/1" -> "quantizer"; an interface of others stays as it is.
std::string interface_word(std::string_view interface_id);

// "block = 128" and "columns that share a scale; a whole number, 16 to 1024".
Entry option_entry(const mopt_option&);
std::vector<Entry> option_entries(std::span<const mopt_option>);

}  // namespace mopt::cli
