// What a name means: plugins, components, options, roles, recipes, diagnostic codes, engines.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "host/loader/registry.hpp"

namespace mopt::cli {

struct Explanation {
  std::string
      kind;  // "plugin", "component", "option", "role", "recipe", "diagnostic code", "engine"
  std::string text;  // lines; long ones are to be wrapped
};

struct ExplainSources {
  const Registry& registry;
  std::filesystem::path library;  // of recipes
};

// Everything that has this name; empty when nothing has.
std::vector<Explanation> explain(const ExplainSources&, std::string_view name);

// All names that explain knows, for suggestions.
std::vector<std::string> explained_names(const ExplainSources&);

// The comment that a recipe begins with: one line per paragraph, without the marks.
std::string header_comment(std::string_view toml);

}  // namespace mopt::cli
