// Character sets of Oniguruma expressions, written for PCRE2: escapes, properties, brackets with
// nested sets and intersections.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mopt::text {

// A union: `items` may stand inside PCRE2 brackets, each alternative matches one code point alone.
struct CharSet {
  std::string items;
  std::vector<std::string> alternatives;

  void add(CharSet other);
  std::string expression() const;  // matches one code point of the set
  std::string complement() const;  // matches one code point outside the set
};

// Reads one escape (`at` behind the backslash) that stands for a set or for one code point.
CharSet read_escape(std::string_view pattern, size_t& at);

// Reads a bracket expression, `at` behind its "[", up to and including its "]"; returns what
// matches one code point.
std::string read_brackets(std::string_view pattern, size_t& at);

CharSet word_characters();

// Ends with the expression and the reason.
[[noreturn]] void refuse_pattern(std::string_view pattern, const std::string& reason);

}  // namespace mopt::text
