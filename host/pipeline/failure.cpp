#include "host/pipeline/failure.hpp"

#include <utility>

#include "host/recipe/diagnostic.hpp"

namespace mopt::pipeline {

void fail(std::string code, std::string file, std::string message, std::string remedy) {
  throw Failure(Diagnostic{.code = std::move(code),
                           .file = std::move(file),
                           .message = std::move(message),
                           .remedy = std::move(remedy)});
}

void fail_at_tensor(std::string code, std::string tensor, std::string message, std::string remedy) {
  throw Failure(Diagnostic{.code = std::move(code),
                           .tensor = std::move(tensor),
                           .message = std::move(message),
                           .remedy = std::move(remedy)});
}

}  // namespace mopt::pipeline
