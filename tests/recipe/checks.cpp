#include "tests/recipe/checks.hpp"

#include <set>
#include <stdexcept>

#include "tests/golden.hpp"

namespace mopt::test {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what);
}

std::set<std::string> files_below(const fs::path& root) {
  std::set<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (!entry.is_directory()) names.insert(fs::relative(entry.path(), root).string());
  }
  return names;
}

}  // namespace

bool line_matches(std::string_view pattern, std::string_view line) {
  const size_t star = pattern.find("<*>");
  if (star == std::string_view::npos) return pattern == line;
  if (!line.starts_with(pattern.substr(0, star))) return false;
  const std::string_view rest = pattern.substr(star + 3);
  for (size_t i = star; i <= line.size(); ++i) {
    if (line_matches(rest, line.substr(i))) return true;
  }
  return false;
}

void check_lines(const std::vector<std::string>& patterns, const std::string& text,
                 std::string_view stream) {
  size_t at = 0;
  for (const std::string& pattern : patterns) {
    bool found = false;
    while (!found && at < text.size()) {
      const size_t end = std::min(text.find('\n', at), text.size());
      found = line_matches(pattern, std::string_view(text).substr(at, end - at));
      at = end + 1;
    }
    if (!found)
      fail("expected on " + std::string(stream) + ":\n    " + pattern + "\n  found:\n" + text);
  }
}

void check_same(const fs::path& a, const fs::path& b) {
  if (!fs::is_directory(a)) {
    if (read_file(a.string()) != read_file(b.string())) {
      fail(a.string() + " and " + b.string() + " differ");
    }
    return;
  }
  if (files_below(a) != files_below(b))
    fail(a.string() + " and " + b.string() + " hold other files");
  for (const std::string& name : files_below(a))
    check_same(a / name, b / name);
}

}  // namespace mopt::test
