// Does a checkpoint hold together: its container, its description, every scale, what engines merge,
// and, with a source beside it, what became of every tensor.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "host/pipeline/checkpoint.hpp"
#include "host/pipeline/verify_files.hpp"
#include "host/report/report.hpp"

namespace mopt::pipeline {

struct VerifyRequest {
  const Registry& registry;
  std::filesystem::path directory;
  std::vector<std::string> engines;  // whose refusal is an error; for others it is a warning
  const Checkpoint* source = nullptr;
  // Texts that are not on the disk yet (config.json of an unfinished run); may be empty.
  std::map<std::string, std::string> pending;
  Depth depth = Depth::kRun;
};

// Problems are collected, not thrown; a container that cannot be opened is one of them.
Report::Verify verify(const VerifyRequest&);

}  // namespace mopt::pipeline
