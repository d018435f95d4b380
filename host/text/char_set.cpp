#include "host/text/char_set.hpp"

#include <unicode/uchar.h>

#include <optional>
#include <utility>

#include "host/text/unicode.hpp"
#include "mopt/error.hpp"

namespace mopt::text {
namespace {

// White_Space. PCRE2's own \s also holds U+180E.
constexpr const char* kSpace = "\\t-\\r\\x{85}\\p{Z}";
constexpr int kDeepestBrackets = 100;
constexpr const char* kHexDigit = "0-9a-fA-F";

CharSet items(std::string text) {
  return {std::move(text), {}};
}
CharSet inverse(const CharSet& set) {
  return {{}, {set.complement()}};
}

CharSet posix_punctuation() {
  return items("\\p{P}$+<=>^`|~");
}
CharSet graph() {
  return inverse(items(std::string(kSpace) + "\\p{Cc}\\p{Cn}\\p{Cs}"));
}

std::optional<CharSet> posix(std::string_view name) {
  if (name == "alnum") return items("\\p{Alphabetic}\\p{Nd}");
  if (name == "alpha") return items("\\p{Alphabetic}");
  if (name == "ascii") return items("\\x00-\\x7f");
  if (name == "blank") return items("\\p{Zs}\\t");
  if (name == "cntrl") return items("\\p{Cc}");
  if (name == "digit") return items("\\p{Nd}");
  if (name == "graph") return graph();
  if (name == "lower") return items("\\p{Lowercase}");
  if (name == "punct") return posix_punctuation();
  if (name == "space") return items(kSpace);
  if (name == "upper") return items("\\p{Uppercase}");
  if (name == "xdigit") return items(kHexDigit);
  if (name == "word") return word_characters();
  if (name != "print") return std::nullopt;
  CharSet set = graph();
  set.add(items("\\p{Zs}"));
  return set;
}

// Property names compare without case, spaces, '-' and '_'.
std::string loose(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c == ' ' || c == '-' || c == '_') continue;
    out += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return out;
}

CharSet property(std::string_view pattern, const std::string& name) {
  const std::string key = loose(name);
  if (key == "any") return items("\\p{Any}");
  if (key == "assigned") return items("\\P{Cn}");
  if (key == "posixpunct") return posix_punctuation();
  if (key != "punct") {  // here the general category
    if (auto set = posix(key)) return *std::move(set);
  }
  const int32_t category = u_getPropertyValueEnum(UCHAR_GENERAL_CATEGORY_MASK, key.c_str());
  if (category != UCHAR_INVALID_CODE) {
    const std::string short_name =
        u_getPropertyValueName(UCHAR_GENERAL_CATEGORY_MASK, category, U_SHORT_PROPERTY_NAME);
    return items("\\p{" + (short_name == "LC" ? "L&" : short_name) + "}");
  }
  const int32_t script = u_getPropertyValueEnum(UCHAR_SCRIPT, key.c_str());
  if (script != UCHAR_INVALID_CODE) {
    return items(std::string("\\p{sc:") +
                 u_getPropertyValueName(UCHAR_SCRIPT, script, U_LONG_PROPERTY_NAME) + "}");
  }
  const UProperty binary = u_getPropertyEnum(key.c_str());
  if (binary >= 0 && binary < UCHAR_BINARY_LIMIT) {
    return items(std::string("\\p{") + u_getPropertyName(binary, U_LONG_PROPERTY_NAME) + "}");
  }
  refuse_pattern(pattern, "unknown character property '" + name + "'");
}

// "{name}" or "{^name}", `at` behind the p or P.
CharSet read_property(std::string_view pattern, size_t& at, bool negated) {
  const size_t close = pattern.find('}', at);
  if (at >= pattern.size() || pattern[at] != '{' || close == std::string_view::npos) {
    refuse_pattern(pattern, "\\p without {name}");
  }
  std::string name(pattern.substr(at + 1, close - at - 1));
  at = close + 1;
  if (name.starts_with('^')) {
    negated = !negated;
    name.erase(0, 1);
  }
  CharSet set = property(pattern, name);
  return negated ? inverse(set) : set;
}

bool is_hex(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

// \xHH, \x{H...}, \uHHHH; `at` behind the letter.
CharSet read_hex(std::string_view pattern, size_t& at, char kind) {
  if (kind == 'x' && at < pattern.size() && pattern[at] == '{') {
    const size_t close = pattern.find('}', at);
    if (close == std::string_view::npos) refuse_pattern(pattern, "\\x{ without }");
    const std::string digits(pattern.substr(at, close + 1 - at));
    at = close + 1;
    return items("\\x" + digits);
  }
  std::string digits;
  for (const size_t most = kind == 'x' ? 2 : 4; digits.size() < most && at < pattern.size();) {
    if (!is_hex(pattern[at])) break;
    digits += pattern[at++];
  }
  if (kind == 'x' && digits.size() == 2 && digits[0] >= '8') {
    refuse_pattern(pattern, "\\x" + digits + " (a byte of a longer character)");
  }
  return items("\\x{" + (digits.empty() ? "0" : digits) + "}");
}

// One code point as PCRE2 takes it inside and outside brackets.
CharSet literal(std::string_view pattern, size_t& at) {
  const size_t size = code_point_size(pattern, at);
  std::string text(pattern.substr(at, size));
  at += size;
  const char c = text[0];
  const bool plain = size > 1 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                     (c >= 'A' && c <= 'Z') || static_cast<unsigned char>(c) <= ' ' || c == '_';
  return items(plain ? text : "\\" + text);
}

// "[:name:]" or "[:^name:]" at `at`, which stands on the '['.
std::optional<CharSet> read_posix(std::string_view pattern, size_t& at) {
  if (pattern.substr(at, 2) != "[:") return std::nullopt;
  const size_t close = pattern.find(":]", at + 2);
  if (close == std::string_view::npos) return std::nullopt;
  std::string_view name = pattern.substr(at + 2, close - at - 2);
  const bool negated = name.starts_with('^');
  if (negated) name.remove_prefix(1);
  const auto set = posix(name);
  if (!set) return std::nullopt;
  at = close + 2;
  return negated ? inverse(*set) : *set;
}

CharSet read_nested(std::string_view pattern, size_t& at, int depth);

CharSet read_member(std::string_view pattern, size_t& at, int depth) {
  const char c = pattern[at];
  if (c == '[') {
    if (auto set = read_posix(pattern, at)) return *std::move(set);
    return read_nested(pattern, ++at, depth + 1);
  }
  if (c == '\\') {
    if (++at >= pattern.size()) refuse_pattern(pattern, "a backslash at the end");
    if (pattern[at] == 'b') return ++at, items("\\x08");
    return read_escape(pattern, at);
  }
  if (c == '-') return ++at, items("-");
  return literal(pattern, at);
}

// The body of brackets up to "]"; `at` behind the "[".
CharSet read_nested(std::string_view pattern, size_t& at, int depth) {
  if (depth > kDeepestBrackets) refuse_pattern(pattern, "brackets nested too deep");
  const bool negated = at < pattern.size() && pattern[at] == '^';
  if (negated) ++at;
  std::string before;  // lookaheads of the operands of && so far
  CharSet set;
  if (at < pattern.size() && pattern[at] == ']' && pattern.find(']', at + 1) != pattern.npos) {
    set.add(literal(pattern, at));
  }
  for (;;) {
    if (at >= pattern.size()) refuse_pattern(pattern, "[ without ]");
    if (pattern[at] == ']') break;
    if (pattern.substr(at, 2) == "&&") {
      before += "(?=" + set.expression() + ")";
      set = {};
      at += 2;
    } else {
      set.add(read_member(pattern, at, depth));
    }
  }
  ++at;
  if (!before.empty()) set = {{}, {"(?:" + before + set.expression() + ")"}};
  return negated ? inverse(set) : set;
}

}  // namespace

void refuse_pattern(std::string_view pattern, const std::string& reason) {
  throw Error(MOPT_UNSUPPORTED,
              "expected a regular expression that PCRE2 can express, found " + reason + " in '" +
                  std::string(pattern) + "'; write the expression without it",
              "tokenizer.json");
}

void CharSet::add(CharSet other) {
  items += other.items;
  for (std::string& expression : other.alternatives)
    alternatives.push_back(std::move(expression));
}

std::string CharSet::expression() const {
  if (alternatives.empty()) return items.empty() ? "(?!)" : "[" + items + "]";
  if (items.empty() && alternatives.size() == 1) return alternatives[0];
  std::string out = "(?:";
  if (!items.empty()) out += "[" + items + "]|";
  for (const std::string& expression : alternatives)
    out += expression + "|";
  out.back() = ')';
  return out;
}

std::string CharSet::complement() const {
  if (alternatives.empty()) return items.empty() ? "\\p{Any}" : "[^" + items + "]";
  return "(?:(?!" + expression() + ")\\p{Any})";
}

CharSet word_characters() {
  return items("\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}");
}

CharSet read_escape(std::string_view pattern, size_t& at) {
  const char c = pattern[at];
  switch (c) {
    case 's':
      return ++at, items(kSpace);
    case 'S':
      return ++at, inverse(items(kSpace));
    case 'w':
      return ++at, word_characters();
    case 'W':
      return ++at, inverse(word_characters());
    case 'd':
      return ++at, items("\\p{Nd}");
    case 'D':
      return ++at, items("\\P{Nd}");
    case 'h':
      return ++at, items(kHexDigit);
    case 'H':
      return ++at, inverse(items(kHexDigit));
    case 'v':
      return ++at, items("\\x0b");
    case 't':
    case 'n':
    case 'r':
    case 'f':
    case 'a':
    case 'e':
      return ++at, items(std::string{'\\', c});
    case 'p':
    case 'P':
      return ++at, read_property(pattern, at, c == 'P');
    case 'x':
    case 'u':
      return ++at, read_hex(pattern, at, c);
    case '0':
      return ++at, items("\\x00");
    case 'c':
    case 'C':
    case 'M':
      refuse_pattern(pattern, std::string("the control escape \\") + c);
    default:
      return literal(pattern, at);
  }
}

std::string read_brackets(std::string_view pattern, size_t& at) {
  return read_nested(pattern, at, 1).expression();
}

}  // namespace mopt::text
