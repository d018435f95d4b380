// Models as the commands open them.
#pragma once

#include <memory>

#include "host/cli/app.hpp"
#include "host/pipeline/checkpoint.hpp"
#include "host/pipeline/forward.hpp"

namespace mopt::cli {

// With its graph, for computing.
std::unique_ptr<pipeline::Checkpoint> open_model(App&, const std::filesystem::path&);
// Without one: any checkpoint, for looking at tensors.
std::unique_ptr<pipeline::Checkpoint> open_tensors(App&, const std::filesystem::path&);

// The model's own type, unless --dtype float32 was given.
pipeline::ForwardOptions forward_options(App&, const pipeline::Checkpoint&, Precision);

}  // namespace mopt::cli
