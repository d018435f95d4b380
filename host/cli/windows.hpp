// Rows of ids as windows of an evaluation.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace mopt::cli {

using TokenRows = std::vector<std::vector<int32_t>>;

// A row of the window's length is one window. Longer rows are cut into windows, and what is left of
// a row is dropped; a shorter row is a window as it is. Rows of less than two tokens predict
// nothing and are dropped.
TokenRows cut_windows(const TokenRows& rows, int64_t window);

// The first windows that predict `tokens` tokens together (a window of T predicts T-1), the last of
// them shortened to it.
TokenRows limit_tokens(TokenRows windows, std::optional<int64_t> tokens);

}  // namespace mopt::cli
