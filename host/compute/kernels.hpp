// Every row of every op's table, for the command line (--kernel) and for tests.
#pragma once

#include <string_view>
#include <vector>

namespace mopt::compute {

std::vector<std::string_view> all_kernels();

}  // namespace mopt::compute
