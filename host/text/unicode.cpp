#include "host/text/unicode.hpp"

#include <unicode/uchar.h>
#include <unicode/utf8.h>

namespace mopt::text {
namespace {

// Bytes of a valid sequence at `at`, or 0 with `bad` the length of the maximal invalid subpart.
size_t valid_size(std::string_view bytes, size_t at, size_t& bad) {
  const auto* p = reinterpret_cast<const uint8_t*>(bytes.data());
  auto i = static_cast<int64_t>(at);
  const auto n = static_cast<int64_t>(bytes.size());
  UChar32 c;
  U8_NEXT(p, i, n, c);
  const size_t used = static_cast<size_t>(i) - at;
  bad = c < 0 ? used : 0;
  return c < 0 ? 0 : used;
}

}  // namespace

bool is_valid_utf8(std::string_view bytes) {
  size_t bad = 0;
  for (size_t at = 0; at < bytes.size();) {
    if (static_cast<unsigned char>(bytes[at]) < 0x80) {
      ++at;
      continue;
    }
    const size_t size = valid_size(bytes, at, bad);
    if (size == 0) return false;
    at += size;
  }
  return true;
}

std::string to_valid_utf8(std::string_view bytes) {
  if (is_valid_utf8(bytes)) return std::string(bytes);
  std::string out;
  out.reserve(bytes.size() + 16);
  for (size_t at = 0; at < bytes.size();) {
    size_t bad = 0;
    const size_t size = valid_size(bytes, at, bad);
    if (size == 0) {
      out += kReplacementCharacter;
      at += bad;
    } else {
      out.append(bytes, at, size);
      at += size;
    }
  }
  return out;
}

size_t code_point_size(std::string_view text, size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

char32_t code_point(std::string_view text, size_t at) {
  const auto* p = reinterpret_cast<const uint8_t*>(text.data());
  UChar32 c;
  U8_NEXT_UNSAFE(p, at, c);
  return static_cast<char32_t>(c);
}

void append_code_point(std::string& out, char32_t c) {
  char buffer[U8_MAX_LENGTH];
  size_t n = 0;
  U8_APPEND_UNSAFE(buffer, n, static_cast<UChar32>(c));
  out.append(buffer, n);
}

bool is_white_space(char32_t c) {
  return u_isUWhiteSpace(static_cast<UChar32>(c));
}

bool is_word(char32_t c) {
  const auto point = static_cast<UChar32>(c);
  constexpr uint32_t kMask = U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK;
  return u_isUAlphabetic(point) || (U_GET_GC_MASK(point) & kMask) != 0 ||
         u_hasBinaryProperty(point, UCHAR_JOIN_CONTROL);
}

bool is_numeric(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  return (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_N_MASK) != 0;
}

void append_lowercase(std::string& out, char32_t c) {
  // The only code point whose lower case is longer than one in every language.
  constexpr char32_t kCapitalIWithDot = 0x130;
  if (c == kCapitalIWithDot) {
    out += "i\xCC\x87";
    return;
  }
  append_code_point(out, static_cast<char32_t>(u_tolower(static_cast<UChar32>(c))));
}

}  // namespace mopt::text
