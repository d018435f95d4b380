// The pre-tokenizer: cuts a normalized piece into the words that the model sees.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "host/text/tokenizer_spec.hpp"
#include "host/text/unicode.hpp"

namespace mopt::text {

// Where a piece stands in the whole text that is encoded.
enum class Place { kStart, kInside };

// Words are ranges of `text`, none empty.
struct Words {
  std::string text;
  std::vector<Range> ranges;
  Place place = Place::kStart;
};

class PreTokenizer {
 public:
  explicit PreTokenizer(std::vector<PreTokenizerStep> steps);
  Words apply(std::string text, Place place) const;

 private:
  std::vector<std::function<void(Words&)>> steps_;
};

}  // namespace mopt::text
