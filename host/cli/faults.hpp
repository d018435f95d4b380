// What a fault means to the person who typed the command: diagnostics and an exit code.
#pragma once

#include <exception>
#include <vector>

#include "host/recipe/diagnostic.hpp"
#include "mopt/error.hpp"

namespace mopt::cli {

struct Verdict {
  std::vector<Diagnostic> diagnostics;
  Exit exit = Exit::kBug;
};

// Failure as it is; mopt::Error by its code; anything else is a bug of ours, except memory that ran
// out.
Verdict judge(std::exception_ptr);

// The diagnostic of an error that crossed the ABI, with its place.
Diagnostic diagnostic_of(const Error&);

// A fault of the device in the middle of a command, with its name and what works without it.
Diagnostic device_fault(const Error&, const std::string& device);

}  // namespace mopt::cli
