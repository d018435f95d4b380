// The exclude list of a checkpoint: names of unquantized modules, collapsed to wildcards.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mopt::hf {

// Upstream's collapsing, quant-formats 9.4. `unquantized` in model order; the result is sorted.
std::vector<std::string> collapse(const std::vector<std::string_view>& unquantized,
                                  std::vector<std::string_view> quantized);

}  // namespace mopt::hf
