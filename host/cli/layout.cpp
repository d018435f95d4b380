#include "host/cli/layout.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "host/recipe/diagnostic.hpp"
#include "host/report/progress.hpp"

namespace mopt::cli {
namespace {

constexpr int kGap = 2;         // columns between the columns of a table
constexpr int kLeastCell = 10;  // a cell is not cut below it

std::string spaces(int n) {
  return std::string(static_cast<size_t>(std::max(n, 0)), ' ');
}

bool is_continuation(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
}

}  // namespace

std::string wrap(std::string_view text, int width, int indent) {
  std::string out;
  int used = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (word.empty()) continue;
    const int columns = display_width(word);
    if (used > 0 && width != kUnlimited && used + 1 + columns > width) {
      out += "\n" + spaces(indent);
      used = indent;
    } else if (used > 0) {
      out += " ";
      ++used;
    }
    out += word;
    used += columns;
  }
  return out;
}

std::string entries(std::span<const Entry> list, int width) {
  constexpr int kIndent = 2, kLongest = 24;
  int names = 0;
  for (const Entry& e : list) {
    const int n = display_width(e.name);
    if (n <= kLongest) names = std::max(names, n);
  }
  // On a narrow terminal the text stands below its name.
  const bool narrow = width != kUnlimited && width < 60;
  const int at = narrow ? 2 * kIndent : kIndent + names + kGap;
  std::string out;
  for (const Entry& e : list) {
    out += spaces(kIndent) + e.name;
    const int room = width == kUnlimited ? kUnlimited : std::max(width - at, 1);
    if (!e.text.empty()) {
      const int n = display_width(e.name);
      out += narrow || n > names ? "\n" + spaces(at) : spaces(at - kIndent - n);
      std::string text = wrap(e.text, room);
      for (size_t line = text.find('\n'); line != std::string::npos; line = text.find('\n', line)) {
        text.insert(++line, spaces(at));
      }
      out += text;
    }
    out += "\n";
  }
  return out;
}

std::string fit_end(std::string_view text, int width) {
  if (width <= 0 || display_width(text) <= width) return std::string(text);
  size_t at = text.size();
  for (int used = 0; at > 0;) {
    size_t begin = at - 1;
    while (begin > 0 && is_continuation(text[begin]))
      --begin;
    used += display_width(text.substr(begin, at - begin));
    if (used > width - 1) break;
    at = begin;
  }
  return std::string("…").append(text.substr(at));
}

std::vector<int> Table::widths(int room) const {
  std::vector<int> w;
  for (const Column& c : columns_)
    w.push_back(display_width(c.title));
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) {
      w[i] = std::max(w[i], display_width(printable(row[i])));
    }
  }
  const int gaps = kGap * (static_cast<int>(w.size()) - 1);
  while (room != kUnlimited && std::accumulate(w.begin(), w.end(), gaps) > room) {
    size_t widest = w.size();
    for (size_t i = 0; i < w.size(); ++i) {
      const bool may = columns_[i].shrink != Shrink::kNever && w[i] > kLeastCell;
      if (may && (widest == w.size() || w[i] > w[widest])) widest = i;
    }
    if (widest == w.size()) break;
    --w[widest];
  }
  return w;
}

std::string Table::text(int width, int indent) const {
  const int room = width == kUnlimited ? kUnlimited : std::max(width - indent, 1);
  const std::vector<int> w = widths(room);
  const auto line = [&](const auto& cell_of) {
    std::string out;
    for (size_t i = 0; i < columns_.size(); ++i) {
      const std::string cell = columns_[i].shrink == Shrink::kStart ? fit_end(cell_of(i), w[i])
                                                                    : fit_width(cell_of(i), w[i]);
      const std::string pad = spaces(w[i] - display_width(cell));
      out += i == 0 ? "" : spaces(kGap);
      out += columns_[i].align == Align::kRight ? pad + cell : cell + pad;
    }
    out.erase(out.find_last_not_of(' ') + 1);
    return spaces(indent) + fit_width(out, room) + "\n";
  };
  std::string out = line([&](size_t i) { return columns_[i].title; });
  for (const auto& row : rows_) {
    out += line([&](size_t i) { return i < row.size() ? printable(row[i]) : std::string(); });
  }
  return out;
}

std::string grouped(uint64_t number) {
  std::string text = std::to_string(number);
  for (size_t at = text.size(); at > 3;) {
    at -= 3;
    text.insert(at, ",");
  }
  return text;
}

std::string measure_text(double value) {
  if (!std::isfinite(value)) return "-";
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.4g", value);
  return text.data();
}

}  // namespace mopt::cli
