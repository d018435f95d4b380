#include "host/pipeline/saved_rows.hpp"

#include <fstream>
#include <iterator>
#include <string_view>

namespace mopt::pipeline {
namespace {

// Rows as rows_text writes them.
TokenRows rows_of(std::string_view text) {
  TokenRows rows;
  std::vector<int32_t> row;
  int32_t id = 0;
  for (const char c : text) {
    if (c >= '0' && c <= '9') id = id * 10 + (c - '0');
    if (c == ' ') row.push_back(id), id = 0;
    if (c == '\n') rows.push_back(std::move(row)), row.clear();
  }
  return rows;
}

}  // namespace

std::string rows_text(const TokenRows& rows) {
  std::string text;
  for (const auto& row : rows) {
    for (const int32_t id : row)
      text += std::to_string(id) + " ";
    text += "\n";
  }
  return text;
}

std::optional<TokenRows> saved_text(const std::filesystem::path& file, const std::string& key) {
  std::ifstream in(file, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  if (!text.starts_with(key + "\n")) return std::nullopt;
  return rows_of(std::string_view(text).substr(key.size() + 1));
}

}  // namespace mopt::pipeline
