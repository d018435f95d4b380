// The normalizer of a tokenizer: rewrites each piece of text between added tokens.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "host/text/tokenizer_spec.hpp"

namespace mopt::text {

class Normalizer {
 public:
  explicit Normalizer(std::vector<NormalizerStep> steps);
  std::string apply(std::string text) const;
  bool empty() const { return steps_.empty(); }

 private:
  std::vector<std::function<std::string(std::string)>> steps_;
};

}  // namespace mopt::text
