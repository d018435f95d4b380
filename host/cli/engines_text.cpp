#include "host/cli/engines_text.hpp"

#include "host/cli/layout.hpp"
#include "host/recipe/diagnostic.hpp"

namespace mopt::cli {

std::string engines_text(const std::vector<EngineVerdict>& engines, int width) {
  std::vector<Entry> list;
  for (const EngineVerdict& e : engines) {
    list.push_back({printable(e.engine),
                    printable(e.reason.empty() ? e.verdict : e.verdict + ": " + e.reason)});
  }
  return entries(list, width);
}

}  // namespace mopt::cli
