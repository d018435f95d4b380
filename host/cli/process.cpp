#include "host/cli/process.hpp"

#include <iostream>

namespace mopt::cli {

Process this_process() {
  return {std::filesystem::read_symlink("/proc/self/exe"), standard_output(), standard_error(),
          &std::cin};
}

}  // namespace mopt::cli
