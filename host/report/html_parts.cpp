#include "host/report/html_parts.hpp"

#include <array>
#include <cmath>
#include <cstdio>

#include "host/report/html.hpp"
#include "host/report/progress.hpp"

namespace mopt {

std::string text_of(double value, const char* format) {
  if (!std::isfinite(value)) return "–";
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), format, value);
  return text.data();
}

std::string step_text(double seconds) {
  return seconds < 10 ? text_of(seconds, "%.1f") + " s" : duration_text(seconds);
}

std::string element(std::string_view tag, const std::string& inside, std::string_view cls) {
  const std::string attribute = cls.empty() ? "" : " class=\"" + std::string(cls) + "\"";
  return "<" + std::string(tag) + attribute + ">" + inside + "</" + std::string(tag) + ">";
}

std::string section(const std::string& title, const std::string& inside, std::string_view cls) {
  return element("section", "\n" + element("h2", html_escape(title)) + "\n" + inside, cls) + "\n";
}

}  // namespace mopt
