// A golden model with the exports that the original wrote of it, and our run of a recipe on it.
#pragma once

#include <string>
#include <vector>

#include "tests/golden_run/scratch.hpp"
#include "tests/recipe/checks.hpp"

namespace mopt::test {

struct GoldenModel {
  std::string folder;  // has source/ and one folder for each export
  std::string calibration;
  Coverage coverage;  // kPart: the exports hold some tensors only

  std::string source() const { return folder + "/source"; }
  std::string expected(const std::string& name) const { return folder + "/" + name; }
};

// Llama of the full set, or its first layer in a checkout on its own.
GoldenModel golden_llama();

// Does the library have a recipe of this name, and does it, or one that it extends, want data?
bool in_library(const std::string& recipe);
bool calibrates(const std::string& recipe);

// mopt-host --recipe NAME on the model, with its calibration ids where the recipe wants data.
Outcome run_recipe(const Scratch&, const GoldenModel&, const std::string& recipe,
                   const std::string& output, const std::vector<std::string>& more = {});

}  // namespace mopt::test
