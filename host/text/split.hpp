// Cutting a word at the matches of a pattern.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "host/text/tokenizer_spec.hpp"
#include "host/text/unicode.hpp"

namespace mopt::text {

// Finds the matches inside one word, in order, not overlapping.
using Finder = std::function<void(std::string_view word, std::vector<Range>& matches)>;

struct Cut {
  Finder find;
  Behavior behavior;
  Invert invert = Invert::kNo;
};

// The non-empty parts of all words, in order; what a behavior removes is not among them.
std::vector<Range> cut_words(std::string_view text, const std::vector<Range>& words,
                             const Cut& cut);

}  // namespace mopt::text
