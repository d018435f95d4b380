// What `--check` prints: a plan as a document, and for people.
#pragma once

#include <string>
#include <vector>

#include "host/pipeline/prepare.hpp"

namespace mopt::cli {

std::string plan_document(const pipeline::Prepared&);
// The document of a recipe that does not get as far as a plan.
std::string failed_plan_document(const std::string& recipe, const std::string& model,
                                 const std::vector<Diagnostic>& problems);
std::string plan_page(const pipeline::Prepared&, int width);

}  // namespace mopt::cli
