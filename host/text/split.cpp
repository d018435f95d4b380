#include "host/text/split.hpp"

#include <algorithm>

namespace mopt::text {
namespace {

struct Part {
  Range range;
  bool match;
};

// Matches and the gaps between them, covering the word.
void list_parts(size_t size, const std::vector<Range>& matches, bool invert,
                std::vector<Part>& parts) {
  parts.clear();
  size_t at = 0;
  for (const Range& match : matches) {
    if (at != match.begin) parts.push_back({{at, match.begin}, invert});
    parts.push_back({match, !invert});
    at = match.end;
  }
  if (at != size) parts.push_back({{at, size}, invert});
}

// Each part either extends its predecessor in the order of `parts`, or stands alone.
template <class Joins>
void fold(std::vector<Part>& parts, Joins joins) {
  bool previous = false;
  size_t kept = 0;
  for (const Part part : parts) {
    if (kept > 0 && joins(part.match, previous)) {
      Range& last = parts[kept - 1].range;
      last = {std::min(last.begin, part.range.begin), std::max(last.end, part.range.end)};
    } else {
      parts[kept++] = part;
    }
    previous = part.match;
  }
  parts.resize(kept);
}

void merge_parts(std::vector<Part>& parts, Behavior behavior) {
  const auto match_behind_gap = [](bool match, bool previous) { return match && !previous; };
  switch (behavior) {
    case Behavior::kIsolated:
      return;
    case Behavior::kRemoved:
      std::erase_if(parts, [](const Part& part) { return part.match; });
      return;
    case Behavior::kContiguous:
      return fold(parts, [](bool match, bool previous) { return match == previous; });
    case Behavior::kMergedWithPrevious:
      return fold(parts, match_behind_gap);
    case Behavior::kMergedWithNext:
      std::ranges::reverse(parts);
      fold(parts, match_behind_gap);
      std::ranges::reverse(parts);
      return;
  }
}

}  // namespace

std::vector<Range> cut_words(std::string_view text, const std::vector<Range>& words,
                             const Cut& cut) {
  std::vector<Range> out, matches;
  std::vector<Part> parts;
  out.reserve(words.size());
  for (const Range& word : words) {
    cut.find(text.substr(word.begin, word.size()), matches);
    list_parts(word.size(), matches, cut.invert == Invert::kYes, parts);
    merge_parts(parts, cut.behavior);
    for (const Part& part : parts) {
      if (part.range.size() == 0) continue;
      out.push_back({word.begin + part.range.begin, word.begin + part.range.end});
    }
  }
  return out;
}

}  // namespace mopt::text
