// UTF-8 and the few character classes that tokenizers need.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace mopt::text {

// A half-open piece of a text, in bytes.
struct Range {
  size_t begin = 0, end = 0;
  size_t size() const { return end - begin; }
  friend bool operator==(const Range&, const Range&) = default;
};

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

// Each maximal invalid subsequence becomes one U+FFFD (Unicode 3.9, "best practice").
std::string to_valid_utf8(std::string_view bytes);
bool is_valid_utf8(std::string_view bytes);

// Bytes of the code point that begins at `text[at]`; `text` is valid UTF-8.
size_t code_point_size(std::string_view text, size_t at);
char32_t code_point(std::string_view text, size_t at);
void append_code_point(std::string& out, char32_t c);

bool is_white_space(char32_t c);  // White_Space
bool is_word(char32_t c);         // \w of UTS 18: Alphabetic, M, Nd, Pc, Join_Control
bool is_numeric(char32_t c);      // Nd, Nl, No

// Full lower case of one code point without regard to its neighbours.
void append_lowercase(std::string& out, char32_t c);

}  // namespace mopt::text
