#include "host/report/progress.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace mopt {
namespace {

constexpr auto kInterval = std::chrono::milliseconds(100);
constexpr int kDefaultWidth = 80;
constexpr std::string_view kEllipsis = "…";
constexpr std::string_view kEraseLine = "\r\x1b[K";

// One code point of UTF-8: its bytes, and the columns that it takes (0, 1 or 2).
struct Glyph {
  size_t bytes = 1;
  int columns = 1;
};

// East Asian wide ranges and combining marks of Unicode 15, as coarse as terminals agree on them.
int columns_of(uint32_t c) {
  struct Interval {
    uint32_t first, last;
  };
  constexpr Interval kCombining[] = {{0x300, 0x36F},   {0x483, 0x489},   {0x591, 0x5BD},
                                     {0x610, 0x61A},   {0x64B, 0x65F},   {0x1AB0, 0x1AFF},
                                     {0x1DC0, 0x1DFF}, {0x200B, 0x200F}, {0x20D0, 0x20FF},
                                     {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F}};
  constexpr Interval kWide[] = {{0x1100, 0x115F},   {0x2E80, 0x303E},   {0x3041, 0xA4CF},
                                {0xA960, 0xA97F},   {0xAC00, 0xD7A3},   {0xF900, 0xFAFF},
                                {0xFE30, 0xFE6F},   {0xFF00, 0xFF60},   {0xFFE0, 0xFFE6},
                                {0x1F300, 0x1F64F}, {0x1F680, 0x1F6FF}, {0x1F900, 0x1F9FF},
                                {0x20000, 0x3FFFD}};
  const auto inside = [c](const Interval& i) { return c >= i.first && c <= i.last; };
  if (std::ranges::any_of(kCombining, inside)) return 0;
  return std::ranges::any_of(kWide, inside) ? 2 : 1;
}

Glyph glyph_at(std::string_view text, size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  const size_t bytes = lead < 0x80 ? 1 : lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
  if (bytes == 1 || at + bytes > text.size()) return {};
  uint32_t c = lead & (0x7Fu >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    c = c << 6 | (static_cast<unsigned char>(text[at + i]) & 0x3Fu);
  }
  return {bytes, columns_of(c)};
}

std::string formatted(const char* format, double value) {
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), format, value);
  return text.data();
}

// Three significant digits without an exponent: 1.23, 12.3, 123.
std::string three_digits(double value) {
  return formatted(value < 9.995 ? "%.2f" : value < 99.95 ? "%.1f" : "%.0f", value);
}

std::string rate_text(const ProgressState& s) {
  if (s.unit == ProgressState::Unit::kBytes) return three_digits(s.rate / 1e9) + " GB/s";
  return (s.rate < 100 ? three_digits(s.rate) : formatted("%.0f", s.rate)) + " tokens/s";
}

}  // namespace

int display_width(std::string_view text) {
  int width = 0;
  for (size_t at = 0; at < text.size();) {
    const Glyph g = glyph_at(text, at);
    width += g.columns;
    at += g.bytes;
  }
  return width;
}

std::string fit_width(std::string_view text, int width) {
  if (width <= 0 || display_width(text) <= width) return std::string(text);
  int used = 0;
  size_t at = 0;
  while (at < text.size()) {
    const Glyph g = glyph_at(text, at);
    if (used + g.columns > width - 1) break;
    used += g.columns;
    at += g.bytes;
  }
  return std::string(text.substr(0, at)).append(kEllipsis);
}

std::string duration_text(double seconds) {
  const auto whole = static_cast<int64_t>(std::llround(std::max(seconds, 0.0)));
  const auto number = [](int64_t n) { return std::to_string(n); };
  if (whole < 60) return number(whole) + " s";
  if (whole < 3600) return number(whole / 60) + " min " + number(whole % 60) + " s";
  return number(whole / 3600) + " h " + number(whole / 60 % 60) + " min";
}

std::string bytes_text(double bytes) {
  constexpr const char* kUnits[] = {" kB", " MB", " GB", " TB", " PB"};
  if (bytes < 999.5) return formatted("%.0f", bytes) + (bytes == 1 ? " byte" : " bytes");
  size_t unit = 0;
  for (bytes /= 1000; bytes >= 999.5 && unit + 1 < std::size(kUnits); ++unit)
    bytes /= 1000;
  return three_digits(bytes) + kUnits[unit];
}

std::string progress_line(const ProgressState& s, int width) {
  std::string line;
  const auto add = [&line](const std::string& part) { line += (line.empty() ? "" : ", ") + part; };
  if (s.blocks > 0) {
    add("block " + std::to_string(s.block) + " of " + std::to_string(s.blocks));
  }
  if (!s.role.empty()) add(s.role);
  if (s.rate > 0) add(rate_text(s));
  if (s.seconds_left) add(duration_text(*s.seconds_left) + " left");
  return fit_width(line, width);
}

int terminal_width(int fd) {
  winsize size{};
  if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  const char* columns = std::getenv("COLUMNS");
  const int asked = columns == nullptr ? 0 : std::atoi(columns);
  return asked > 0 ? asked : kDefaultWidth;
}

void Progress::update(const ProgressState& state) {
  if (target_.style != ProgressStyle::kTerminal) return;
  const std::lock_guard lock(mutex_);
  const auto now = std::chrono::steady_clock::now();
  if (shown_ && now - last_ < kInterval) return;
  last_ = now;
  show(state);
}

void Progress::block_done(const ProgressState& state) {
  if (target_.style == ProgressStyle::kQuiet) return;
  const std::lock_guard lock(mutex_);
  if (target_.style == ProgressStyle::kTerminal) {
    show(state);
  } else {
    target_.write(progress_line(state, 0) + "\n");
  }
}

// One column stays free, so that no terminal wraps the line.
void Progress::show(const ProgressState& state) {
  const int width = std::max(target_.width() - 1, 1);
  target_.write(std::string(kEraseLine) + progress_line(state, width));
  shown_ = true;
}

void Progress::clear() {
  const std::lock_guard lock(mutex_);
  if (shown_) target_.write(kEraseLine);
  shown_ = false;
}

}  // namespace mopt
