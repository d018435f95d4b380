// A literal or regular expression that is searched in valid UTF-8.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "host/text/tokenizer_spec.hpp"
#include "host/text/unicode.hpp"

namespace mopt::text {

class Pattern {
 public:
  explicit Pattern(PatternSpec);
  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;
  ~Pattern();

  // All matches from left to right, not overlapping; an empty one never directly behind another.
  // Replaces what `matches` holds. Thread safe.
  void find_all(std::string_view text, std::vector<Range>& matches) const;

  // `text` with every match replaced by `content`.
  std::string replace(std::string_view text, std::string_view content) const;

 private:
  struct Regex;
  void find_literal(std::string_view text, std::vector<Range>& matches) const;

  std::string literal_;
  std::unique_ptr<Regex> regex_;  // absent: the literal
};

}  // namespace mopt::text
