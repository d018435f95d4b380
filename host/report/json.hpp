// JSON pieces that documents share. For .cpp files only: it drags in the JSON library.
#pragma once

#include <nlohmann/json.hpp>

#include "host/recipe/diagnostic.hpp"

namespace mopt {

using Json = nlohmann::ordered_json;

// Six significant digits, more than any measurement here has; null when it is not finite.
Json json_number(double);

// The `P` of the contract: unused members are absent.
Json json_problem(const Diagnostic&);
Json json_problems(const std::vector<Diagnostic>&);

// On one line. Bytes that are not UTF-8 become U+FFFD.
std::string json_text(const Json&);

// One member of the outermost object a line, and one element a line of its arrays; with a final
// newline.
std::string json_page(const Json&);

}  // namespace mopt
