// The text form of a recipe test (README.md beside this file): parsed into steps, nothing executed.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mopt::test {

// One line of a test, with the lines of its block if it takes one.
struct Step {
  int line = 0;
  std::string directive;
  std::vector<std::string> words;  // after the directive, unquoted
  std::vector<std::string> block;
};

struct Script {
  std::string file, title;
  int line = 0;
  std::vector<std::string> needs;  // "cpu", "golden PATH", "shared PATH"
  std::vector<Step> steps;
};

// Every test of one file. Throws std::runtime_error with file:line on anything it does not know.
std::vector<Script> parse_scripts(const std::string& file, std::string_view text);

// Words separated by spaces; "..." keeps spaces and knows \n \t \\ \" and \xNN.
std::vector<std::string> split_words(std::string_view text);

// The block as the text of a file.
std::string joined(const std::vector<std::string>& lines);

}  // namespace mopt::test
