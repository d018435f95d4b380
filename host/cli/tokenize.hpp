// Lines of `mopt-host tokenize`: what they hold, and how results are written.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mopt::cli {

// Where a line comes from, for messages: "standard input", counted from 1.
struct LinePlace {
  std::string file;
  int line = 0;
};

// Ids separated by spaces or commas. Throws Failure D103.
std::vector<int32_t> ids_of_line(std::string_view line, const LinePlace&);
// A JSON array of ids, a JSON string. Throws Failure D103.
std::vector<int32_t> ids_of_json(std::string_view line, const LinePlace&);
std::string text_of_json(std::string_view line, const LinePlace&);

}  // namespace mopt::cli
