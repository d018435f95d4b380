// What a program run is given by the system, so that tests can give it too.
#pragma once

#include <filesystem>
#include <istream>

#include "host/cli/console.hpp"

namespace mopt::cli {

struct Process {
  std::filesystem::path executable;  // where it stands decides where plugins and recipes are
  Stream out, err;
  std::istream* in = nullptr;  // standard input; outlives the run
};

// This process.
Process this_process();

}  // namespace mopt::cli
