// Options of components: checked against what the component declares.
#pragma once

#include "host/recipe/tree.hpp"

namespace mopt {

// "quantizer" for "mopt.quantizer/1".
std::string interface_word(std::string_view interface_id);

// One finding, with the stage it belongs to left to the caller. Options named in `reserved` are
// keys of the recipe, not of the component. `table` may be NULL: all defaults.
struct OptionContext {
  const ComponentSchema& component;
  Origin place;  // of the table or of the component's name, for what is missing
  std::vector<std::string_view> reserved;
};
OptionSet resolve_options(const Node* table, const OptionContext&, Findings& problems,
                          std::vector<Diagnostic>& warnings);

}  // namespace mopt
