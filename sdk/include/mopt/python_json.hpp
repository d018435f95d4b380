// JSON as Python's json module writes it: with the bare words NaN, Infinity and -Infinity, which
// published configurations hold and the standard does not know. They are put into strings that no
// text has, so that any JSON library can read the rest, and taken out again before writing.
#pragma once

#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace mopt {

namespace detail {

// U+E000, a private use character, begins such a string.
inline constexpr std::string_view kNumberMark = "\xEE\x80\x80";
inline constexpr std::string_view kWords[] = {"NaN", "Infinity", "-Infinity"};

}  // namespace detail

// The standard JSON of such a text.
inline std::string standard_json(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool quoted = false;
  for (size_t at = 0; at < text.size();) {
    if (quoted && text[at] == '\\' && at + 1 < text.size()) {
      out += text.substr(at, 2);
      at += 2;
      continue;
    }
    if (text[at] == '"') quoted = !quoted;
    std::string_view word;
    for (const std::string_view w : detail::kWords) {
      if (!quoted && text.substr(at).starts_with(w)) word = w;
    }
    if (word.empty()) {
      out += text[at++];
      continue;
    }
    out.append("\"").append(detail::kNumberMark).append(word).append("\"");
    at += word.size();
  }
  return out;
}

// The way back: what a JSON library wrote of standard_json's text.
inline std::string python_json(std::string text) {
  for (const std::string_view word : detail::kWords) {
    std::string marked = "\"";
    marked.append(detail::kNumberMark).append(word).append("\"");
    for (size_t at = text.find(marked); at != std::string::npos; at = text.find(marked, at))
      text.replace(at, marked.size(), word);
  }
  return text;
}

// The number that such a string stands for; nothing for any other string.
inline std::optional<double> marked_number(std::string_view text) {
  if (!text.starts_with(detail::kNumberMark)) return std::nullopt;
  text.remove_prefix(detail::kNumberMark.size());
  if (text == "NaN") return std::numeric_limits<double>::quiet_NaN();
  if (text == "Infinity") return std::numeric_limits<double>::infinity();
  if (text == "-Infinity") return -std::numeric_limits<double>::infinity();
  return std::nullopt;
}

}  // namespace mopt
