// What a run depends on, for its journal: the recipe, the model, the data, the plugins, the
// program.
#pragma once

#include <string>

#include "host/pipeline/journal.hpp"
#include "host/pipeline/prepare.hpp"

namespace mopt::pipeline {

class RunFingerprint {
 public:
  // `program`: its version and commit.
  RunFingerprint(const Prepared& job, std::string program)
      : job_(job), program_(std::move(program)) {}

  // Of a run that is calibrated on data with this digest; empty: on none. Throws Error MOPT_IO.
  Fingerprint of(const std::string& data);
  // What text that the model wrote itself depends on.
  std::string text_key();

 private:
  const Fingerprint& model();

  const Prepared& job_;
  std::string program_;
  Fingerprint model_;  // once it is known: large files are read for it
};

}  // namespace mopt::pipeline
