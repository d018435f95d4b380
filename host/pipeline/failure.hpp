// One error, as a Failure.
#pragma once

#include <string>

namespace mopt::pipeline {

[[noreturn]] void fail(std::string code, std::string file, std::string message, std::string remedy);
[[noreturn]] void fail_at_tensor(std::string code, std::string tensor, std::string message,
                                 std::string remedy);

}  // namespace mopt::pipeline
