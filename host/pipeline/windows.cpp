#include "host/pipeline/windows.hpp"

#include <algorithm>
#include <limits>

#include "host/pipeline/calibrate.hpp"
#include "host/text/data.hpp"

namespace mopt::pipeline {
namespace {

bool is_text(const std::string& source) {
  const std::string file = text::split_source(source).file;
  return file.ends_with(".txt") || file.ends_with(".jsonl");
}

TokenRows whole_rows(const WindowRequest& request, const Checkpoint& checkpoint) {
  const int64_t vocabulary = vocabulary_of(checkpoint);
  const text::OpenIds open = id_opener(checkpoint.registry());
  if (!is_text(request.source)) return text::load_ids(request.source, open, vocabulary);
  text::DataRequest data;
  data.sources = {request.source};
  data.samples = std::numeric_limits<int64_t>::max();
  data.seq_len = request.window;
  data.vocab_size = vocabulary;
  return text::load_rows(data, &checkpoint.tokenizer(), open).rows;
}

}  // namespace

TokenRows eval_windows(const WindowRequest& request, const Checkpoint& checkpoint) {
  TokenRows windows = limit_tokens(cut_windows(whole_rows(request, checkpoint), request.window),
                                   request.max_tokens);
  if (!windows.empty()) return windows;
  Diagnostic d;
  d.code = "D105";
  d.file = request.source;
  d.message = "expected rows of at least two tokens, found none";
  d.remedy = "give more data";
  throw Failure(std::move(d));
}

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

}  // namespace mopt::pipeline
