#include "host/text/byte_alphabet.hpp"

#include "host/text/unicode.hpp"

namespace mopt::text {
namespace {

constexpr bool stands_for_itself(int byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

constexpr std::array<char32_t, 256> code_points() {
  std::array<char32_t, 256> out{};
  char32_t next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    out[static_cast<size_t>(byte)] = stands_for_itself(byte) ? static_cast<char32_t>(byte) : next++;
  }
  return out;
}

constexpr std::array<char32_t, 256> kCodePoints = code_points();
constexpr size_t kEnd = 256 + 68;  // one past the largest code point of the alphabet

constexpr std::array<int16_t, kEnd> bytes() {
  std::array<int16_t, kEnd> out{};
  out.fill(-1);
  for (size_t byte = 0; byte < 256; ++byte) {
    out[kCodePoints[byte]] = static_cast<int16_t>(byte);
  }
  return out;
}

}  // namespace

const std::array<std::string, 256>& byte_alphabet() {
  static const std::array<std::string, 256> kAlphabet = [] {
    std::array<std::string, 256> out;
    for (size_t byte = 0; byte < 256; ++byte) {
      append_code_point(out[byte], kCodePoints[byte]);
    }
    return out;
  }();
  return kAlphabet;
}

std::optional<uint8_t> alphabet_byte(char32_t c) {
  static constexpr std::array<int16_t, kEnd> kBytes = bytes();
  if (c >= kEnd || kBytes[c] < 0) return std::nullopt;
  return static_cast<uint8_t>(kBytes[c]);
}

void append_spelled_bytes(std::string& out, std::string_view token) {
  const size_t before = out.size();
  for (size_t at = 0; at < token.size(); at += code_point_size(token, at)) {
    const auto byte = alphabet_byte(code_point(token, at));
    if (!byte) {
      out.resize(before);
      out += token;
      return;
    }
    out += static_cast<char>(*byte);
  }
}

}  // namespace mopt::text
