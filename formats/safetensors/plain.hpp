// Which characters a JSON string holds as they are: everything but quotes, backslashes and control
// characters, and here also but multi-byte sequences, which have to be checked.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace mopt::safetensors {

// Whether one of eight characters is not plain.
inline bool any_special(uint64_t eight) {
  constexpr uint64_t kOnes = 0x0101010101010101, kHigh = 0x80 * kOnes;
  // The high bit of some byte is set when a byte is zero, and only then; of which, is not exact.
  const auto zero = [](uint64_t x) { return (x - kOnes) & ~x; };
  const uint64_t control = (eight - 0x20 * kOnes) & ~eight;
  return ((zero(eight ^ '"' * kOnes) | zero(eight ^ '\\' * kOnes) | control | eight) & kHigh) != 0;
}

// Length of a beginning, in whole words of eight, that is plain.
inline size_t plain_words(std::string_view text) {
  size_t at = 0;
  uint64_t eight;
  while (text.size() - at >= sizeof(eight)) {
    std::memcpy(&eight, text.data() + at, sizeof(eight));
    if (any_special(eight)) break;
    at += sizeof(eight);
  }
  return at;
}

inline bool all_plain(std::string_view text) {
  text.remove_prefix(plain_words(text));
  if (text.size() >= 8) return false;
  char last[8] = {'a', 'a', 'a', 'a', 'a', 'a', 'a', 'a'};
  std::memcpy(last, text.data(), text.size());
  return plain_words({last, sizeof(last)}) == sizeof(last);
}

}  // namespace mopt::safetensors
