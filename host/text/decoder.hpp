// The decoder: token strings to text.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "host/text/tokenizer_spec.hpp"

namespace mopt::text {

// How a text grows when tokens are appended.
enum class Growth {
  kBytes,   // the bytes of each token follow those of the last
  kTokens,  // likewise, except that a run of byte tokens is settled only by the next other token
  kAtEnd    // any token may change all of it
};

class Decoder {
 public:
  explicit Decoder(std::optional<std::vector<DecoderStep>> steps);
  std::string apply(std::vector<std::string> tokens) const;
  Growth growth() const { return growth_; }

 private:
  bool joins_by_spaces_;
  std::vector<std::function<void(std::vector<std::string>&)>> steps_;
  Growth growth_;
};

// "<0x41>" -> 0x41.
std::optional<unsigned char> byte_of_token(std::string_view token);

}  // namespace mopt::text
