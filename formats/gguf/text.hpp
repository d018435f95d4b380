// Names from files inside messages.
#pragma once

#include <string>
#include <string_view>

namespace mopt::gguf {

inline constexpr std::string_view kDamaged = "the file is damaged or incomplete, fetch it again";

// 'text' in quotes, control characters escaped, cut after 200 bytes.
inline std::string in_quotes(std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string out = "'";
  for (const char c : text.substr(0, 200)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7F) {
      out += c;
    } else {
      out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return out + (text.size() > 200 ? "...'" : "'");
}

}  // namespace mopt::gguf
