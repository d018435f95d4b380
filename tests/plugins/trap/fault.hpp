// When the plugin's kernel breaks.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace mopt::trap {

// At every weight whose name contains `tensor`, as long as the file `armed` is there: a file, so
// that the run that follows has the same recipe. With an empty one of them at none.
struct Fault {
  std::string tensor, armed;

  bool hits(std::string_view weight) const {
    std::error_code failed;
    return !tensor.empty() && !armed.empty() && weight.find(tensor) != std::string_view::npos &&
           std::filesystem::exists(armed, failed);
  }
};

}  // namespace mopt::trap
