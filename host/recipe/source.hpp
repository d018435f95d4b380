// From files and command line to one merged tree: parsing, `extends`, --set, library lookup.
#pragma once

#include "host/recipe/tree.hpp"

namespace mopt {

// Parses TOML; every node gets its place in `file`. Throws Failure E001.
Node parse_toml(std::string_view text, const std::string& file);

// The merged tree of a recipe. Throws Failure for syntax, a missing base and a bad --set; what
// belongs to the schema stage (duplicate ids, `schema` of each file) is added to `schema`.
Node read_recipe(const RecipeRequest&, Findings& schema);

}  // namespace mopt
