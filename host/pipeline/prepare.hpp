// Everything before the first weight is read: the recipe, the model, the components and the plan.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "host/pipeline/checkpoint.hpp"
#include "host/plan/plan.hpp"
#include "host/recipe/recipe.hpp"

namespace mopt::pipeline {

// What recipes may name, from the plugins that are loaded.
Catalogue catalogue_of(const Registry&);

struct Prepared {
  Recipe recipe;
  std::unique_ptr<Checkpoint> source;
  std::unique_ptr<Exporter> exporter;
  std::vector<Calibrator> calibrators;
  std::unique_ptr<Pruner> pruner;  // NULL: nothing is pruned
  plan::Plan plan;
};

// The stages of a recipe up to the plan; the request's model_type is found here. Throws Failure
// with all faults of the first stage that has some.
Prepared prepare(const Registry&, RecipeRequest);

// The text of config.json, empty if there is none.
std::string_view config_text(const Checkpoint&);

}  // namespace mopt::pipeline
