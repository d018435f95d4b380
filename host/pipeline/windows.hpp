// The windows of an evaluation: of `mopt-host eval` and of a recipe's [[eval]] alike.
#pragma once

#include <cstdint>
#include <optional>

#include "host/pipeline/checkpoint.hpp"
#include "host/pipeline/stream.hpp"

namespace mopt::pipeline {

struct WindowRequest {
  std::string source;  // FILE.txt, FILE.jsonl: packed to the window; else FILE[:KEY] of ids
  int64_t window = 0;
  std::optional<int64_t> max_tokens;  // predicted ones; absent: all
};

// Text is tokenized, and ids are bounded, as `checkpoint` says. Throws Failure (D101 .. D107).
TokenRows eval_windows(const WindowRequest&, const Checkpoint&);

// A row of the window's length is one window. Longer rows are cut into windows, and what is left of
// a row is dropped; a shorter row is a window as it is. Rows of less than two tokens predict
// nothing and are dropped.
TokenRows cut_windows(const TokenRows& rows, int64_t window);

// The first windows that predict `tokens` tokens together (a window of T predicts T-1), the last of
// them shortened to it.
TokenRows limit_tokens(TokenRows windows, std::optional<int64_t> tokens);

}  // namespace mopt::pipeline
