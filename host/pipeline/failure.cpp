#include "host/pipeline/failure.hpp"

#include <utility>

#include "host/recipe/diagnostic.hpp"

namespace mopt::pipeline {

void fail(std::string code, std::string file, std::string message, std::string remedy) {
  Diagnostic d;
  d.code = std::move(code);
  d.file = std::move(file);
  d.message = std::move(message);
  d.remedy = std::move(remedy);
  throw Failure(d);
}

void fail_at_tensor(std::string code, std::string tensor, std::string message, std::string remedy) {
  Diagnostic d;
  d.code = std::move(code);
  d.tensor = std::move(tensor);
  d.message = std::move(message);
  d.remedy = std::move(remedy);
  throw Failure(d);
}

}  // namespace mopt::pipeline
