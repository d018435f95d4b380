// The texts beside the weights: is what a checkpoint needs there, and does it fit the tensors and
// the source?
#pragma once

#include <map>
#include <string>
#include <vector>

#include "host/pipeline/checkpoint.hpp"

namespace mopt::pipeline {

// kRun: as the last act of a run, in its memory. It measured the errors of weights itself, and
// copied the tokenizer, and wrote the index: none of them is read again.
enum class Depth { kRun, kFull };

struct FileCheck {
  const Container& container;
  const std::map<std::string, std::string>& pending;  // texts that are not on the disk yet
  const graph::Model* graph;                          // may be NULL
  const Checkpoint* source;                           // may be NULL
  Depth depth;
};

// Codes V106, V109, V111, V116.
std::vector<Diagnostic> check_files(const FileCheck&);

}  // namespace mopt::pipeline
