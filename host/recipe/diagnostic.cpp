// Formatting of diagnostics, escaping of names, and suggestions by edit distance.
#include "host/recipe/diagnostic.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <utility>

namespace mopt {
namespace {

struct CodePoint {
  uint32_t value = 0;
  size_t bytes = 0;  // 0: not UTF-8 here
};

// One code point of UTF-8; overlong forms, surrogates and values above U+10FFFF are not UTF-8.
CodePoint decode_utf8(std::string_view s) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(s[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const size_t n = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || s.size() < n) return {};
  uint32_t value = lead & (0x7F >> n);
  for (size_t i = 1; i < n; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    value = value << 6 | (byte(i) & 0x3F);
  }
  constexpr uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  if (value < least[n] || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) return {};
  return {value, n};
}

// What moves the cursor, ends the line or turns the direction of the text around it.
bool is_control(uint32_t c) {
  return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0x200E || c == 0x200F || c == 0x061C ||
         (c >= 0x2028 && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069) || c == 0xFEFF;
}

std::string escape(uint32_t c) {
  if (c == '\n') return "\\n";
  if (c == '\r') return "\\r";
  if (c == '\t') return "\\t";
  std::array<char, 12> out{};
  std::snprintf(out.data(), out.size(), c < 0x80 ? "\\x%02x" : "\\u%04x", static_cast<unsigned>(c));
  return out.data();
}

std::string place(const Diagnostic& d) {
  std::string out = printable(d.file.empty() ? d.tensor : d.file);
  if (d.line > 0) out.append(":").append(std::to_string(d.line));
  if (d.line > 0 && d.column > 0) out.append(":").append(std::to_string(d.column));
  return out.empty() ? out : out + ": ";
}

// A plugin that is left out is no error of the run, and says so.
std::string_view verb(const Diagnostic& d) {
  if (d.severity == Severity::kWarning) return "warning";
  return d.code.starts_with('P') ? "refused" : "error";
}

std::string join(const std::vector<Diagnostic>& diagnostics) {
  std::string out;
  for (const Diagnostic& d : diagnostics) {
    if (!out.empty()) out += "\n";
    out += format(d);
  }
  return out;
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment), without
// regard to case.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i)
    d[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j)
    d[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      const bool same = lower(a[i - 1]) == lower(b[j - 1]);
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (same ? 0 : 1)});
      const bool swapped = i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) &&
                           lower(a[i - 2]) == lower(b[j - 1]);
      if (swapped) d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  }
  return d[a.size()][b.size()];
}

constexpr size_t kLongestName = 200;  // longer ones are no typing mistakes

}  // namespace

std::string without_place(std::string message, std::string_view file, std::string_view tensor) {
  const auto drop = [&](const std::string& place) {
    if (message.starts_with(place + ": ")) message.erase(0, place.size() + 2);
  };
  if (!file.empty()) drop(std::string(file));
  if (!tensor.empty()) drop("tensor '" + std::string(tensor) + "'");
  if (!tensor.empty()) drop(std::string(tensor));
  return message;
}

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const CodePoint c = decode_utf8(text);
    const size_t bytes = std::max<size_t>(c.bytes, 1);
    if (c.bytes == 0) {
      std::array<char, 8> hex{};
      std::snprintf(hex.data(), hex.size(), "\\x%02x",
                    static_cast<unsigned>(static_cast<uint8_t>(text[0])));
      out += hex.data();
    } else if (is_control(c.value)) {
      out += escape(c.value);
    } else {
      out += text.substr(0, bytes);
    }
    text.remove_prefix(bytes);
  }
  return out;
}

std::string format(const Diagnostic& d) {
  std::string out = place(d);
  out.append(verb(d)).append("[").append(d.code).append("]: ");
  if (!d.file.empty() && !d.tensor.empty()) out += printable(d.tensor) + ": ";
  out += printable(d.message);
  if (!d.remedy.empty()) out += "; " + printable(d.remedy);
  return out;
}

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string_view best;
  size_t best_distance = SIZE_MAX;
  if (word.size() > kLongestName) return {};
  for (const std::string& candidate : candidates) {
    if (candidate.size() > kLongestName) continue;
    const size_t d = distance(word, candidate);
    const size_t near_enough = std::max<size_t>(1, std::max(word.size(), candidate.size()) / 3);
    // A distance of the whole length shares nothing with the word.
    const bool related = d < std::max(word.size(), candidate.size());
    if (d <= near_enough && related && d < best_distance) {
      best = candidate;
      best_distance = d;
    }
  }
  return std::string(best);
}

Failure::Failure(std::vector<Diagnostic> diagnostics)
    : std::runtime_error(join(diagnostics)), diagnostics_(std::move(diagnostics)) {}

Exit Failure::exit() const {
  for (const Diagnostic& d : diagnostics_) {
    if (d.severity != Severity::kError) continue;
    const CodeEntry* entry = find_code(d.code);
    return entry == nullptr ? Exit::kBug : entry->exit;
  }
  return Exit::kBug;
}

}  // namespace mopt
