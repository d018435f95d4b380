// What `--check` prints: a plan as a document, and for people.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "host/pipeline/prepare.hpp"

namespace mopt::cli {

// What the run would hold at most, bytes.
struct PlannedMemory {
  uint64_t process = 0, block = 0;  // block: of `process`, for one block
  std::optional<uint64_t> device;   // absent: it runs on the CPU
};

std::string plan_document(const pipeline::Prepared&, const PlannedMemory&);
// The document of a recipe that does not get as far as a plan.
std::string failed_plan_document(const std::string& recipe, const std::string& model,
                                 const std::vector<Diagnostic>& problems);
std::string plan_page(const pipeline::Prepared&, const PlannedMemory&, int width);

}  // namespace mopt::cli
