// The post-processor: the ids that stand around a text when special tokens are asked for.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "host/text/tokenizer_spec.hpp"

namespace mopt::text {

class PostProcessor {
 public:
  explicit PostProcessor(std::optional<Template> single) : single_(std::move(single)) {}
  std::vector<int32_t> apply(std::vector<int32_t> ids) const;

 private:
  std::optional<Template> single_;  // absent: adds nothing
};

}  // namespace mopt::text
