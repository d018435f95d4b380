// A command line, read and checked.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "host/cli/options.hpp"

namespace mopt::cli {

// Throws Failure U101 that names the option and what it takes.
Invocation parse_command_line(const std::vector<std::string>& words);

// "mopt-host --set 'a.b=[1, 2]'": pasted into a shell it gives the same words.
std::string quoted_command(const std::vector<std::string>& words);

// "8GiB", "512MiB", "4GB", "1000": bytes; the option is named in the refusal.
uint64_t parse_size(std::string_view option, const std::string& text);

// "1,2,3".
std::vector<int64_t> parse_ids(std::string_view option, const std::string& text);

}  // namespace mopt::cli
