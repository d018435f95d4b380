#include "host/cli/windows.hpp"

#include <algorithm>

namespace mopt::cli {

TokenRows cut_windows(const TokenRows& rows, int64_t window) {
  const auto size = static_cast<size_t>(window);
  TokenRows windows;
  for (const auto& row : rows) {
    if (row.size() <= size && row.size() >= 2) windows.push_back(row);
    if (row.size() <= size) continue;
    for (size_t at = 0; at + size <= row.size(); at += size) {
      const auto begin = row.begin() + static_cast<std::ptrdiff_t>(at);
      windows.emplace_back(begin, begin + window);
    }
  }
  return windows;
}

TokenRows limit_tokens(TokenRows windows, std::optional<int64_t> tokens) {
  if (!tokens) return windows;
  int64_t left = *tokens;
  size_t kept = 0;
  for (; kept < windows.size() && left > 0; ++kept) {
    const auto predicted = static_cast<int64_t>(windows[kept].size()) - 1;
    if (predicted > left) windows[kept].resize(static_cast<size_t>(left) + 1);
    left -= std::min(left, predicted);
  }
  windows.resize(kept);
  return windows;
}

}  // namespace mopt::cli
