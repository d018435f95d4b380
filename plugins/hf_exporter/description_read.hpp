// What the texts of a checkpoint say about its quantization, from either of the two files.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "problem.hpp"
#include "scheme.hpp"

namespace mopt::hf {

struct Said {
  std::string file;  // that says it
  Tree entry;        // uniform: the layer entry of every module; null when no quant_algo is named
  Tree layers;       // mixed: module -> layer entry; else null
  std::vector<std::string> exclude;
  std::optional<std::string> kv;
};

struct Documents {
  std::optional<Said> said;       // hf_quant_config.json's word, else config.json's
  std::vector<Problem> problems;  // of the texts and between them
  bool tied_head = false;         // config.json says so
};

// Throws MOPT_UNSUPPORTED when config.json names another quant_method, MOPT_DATA_LOSS for broken
// JSON.
Documents read_documents(const Checkpoint& checkpoint);

// Whether the exclude list names this module: exactly, by a wildcard, or by a module around it.
bool excluded(const std::vector<std::string>& patterns, std::string_view module);

}  // namespace mopt::hf
