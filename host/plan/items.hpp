// The tensors of the source in the order of the model, before any rule: kind, role, group, unit.
#pragma once

#include "host/plan/plan.hpp"

namespace mopt::plan {

// Fills items, units and warnings.
void list_items(const PlanInput&, Plan&);

}  // namespace mopt::plan
