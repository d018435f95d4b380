// The GPT-2 alphabet: each byte as one printable code point. Bytes 33..126, 161..172 and 174..255
// stand for themselves, the other 68 in ascending order for U+0100, U+0101, ...
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mopt::text {

// UTF-8 of the code point that stands for each byte.
const std::array<std::string, 256>& byte_alphabet();

// The byte that a code point stands for.
std::optional<uint8_t> alphabet_byte(char32_t c);

// Appends the bytes that `token` spells, or its own UTF-8 when it holds any other character.
void append_spelled_bytes(std::string& out, std::string_view token);

}  // namespace mopt::text
