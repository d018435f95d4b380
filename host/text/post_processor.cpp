#include "host/text/post_processor.hpp"

namespace mopt::text {

std::vector<int32_t> PostProcessor::apply(std::vector<int32_t> ids) const {
  if (!single_) return ids;
  std::vector<int32_t> out;
  for (const auto& piece : *single_) {
    const auto* added = std::get_if<TemplateIds>(&piece);
    const std::vector<int32_t>& from = added != nullptr ? added->ids : ids;
    out.insert(out.end(), from.begin(), from.end());
  }
  return out;
}

}  // namespace mopt::text
