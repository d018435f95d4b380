#include "exclude.hpp"

#include <algorithm>
#include <set>
#include <string_view>

namespace mopt::hf {
namespace {

// The quantized names, sorted. Upstream forbids each name and each of its beginnings followed by
// "*"; asking for beginnings is the same set without building it.
class Forbidden {
 public:
  explicit Forbidden(std::vector<std::string_view> names) : names_(std::move(names)) {
    std::ranges::sort(names_);
  }
  bool name(std::string_view text) const { return std::ranges::binary_search(names_, text); }
  // text + "*" would match a quantized name.
  bool beginning(std::string_view text) const {
    const auto at = std::ranges::lower_bound(names_, text);
    return at != names_.end() && at->starts_with(text);
  }

 private:
  std::vector<std::string_view> names_;
};

void add(std::string_view name, const Forbidden& forbidden, std::set<std::string>& result) {
  for (size_t dot = name.find('.'); dot != name.npos; dot = name.find('.', dot + 1)) {
    const std::string_view p = name.substr(0, dot);
    if (!forbidden.beginning(p)) {
      result.insert(std::string(p) + "*");
      return;
    }
    if (!forbidden.name(p) && !forbidden.beginning(name.substr(0, dot + 1))) {
      result.insert(std::string(p) + ".*");
      return;
    }
  }
  if (!forbidden.name(name)) result.emplace(name);
}

}  // namespace

std::vector<std::string> collapse(const std::vector<std::string_view>& unquantized,
                                  std::vector<std::string_view> quantized) {
  const Forbidden forbidden(std::move(quantized));
  std::set<std::string> result;
  for (const std::string_view name : unquantized)
    add(name, forbidden, result);
  return {result.begin(), result.end()};
}

}  // namespace mopt::hf
