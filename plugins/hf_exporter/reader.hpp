// Reads a checkpoint's description back, and checks it against the tensors that are there.
#pragma once

#include <functional>

#include "mopt/exporter.hpp"

namespace mopt::hf {

struct ReadTarget {
  const ReadSink& sink;
  // Called for every quantized parameter with its logical shape.
  std::function<void(const mopt_param&, int64_t rows, int64_t cols)> seen;
};

void read_checkpoint(const Checkpoint& checkpoint, const ReadTarget& target);

}  // namespace mopt::hf
