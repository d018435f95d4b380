// model.safetensors.index.json: which tensor stands in which file.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace mopt::safetensors {

inline constexpr std::string_view kIndexName = "model.safetensors.index.json";

struct Index {
  struct Row {
    std::string_view tensor;  // into text or escaped
    uint32_t file;            // into files
  };
  std::string text;
  std::deque<std::string> escaped;  // names that the text holds with escapes
  std::vector<Row> rows;
  std::vector<std::string> files;  // names below the directory, sorted
};

// Checks the text and that no file name leads out of the directory; whether the files agree is for
// who opens them. `path` is for messages.
Index parse_index(std::string text, const std::string& path);

}  // namespace mopt::safetensors
