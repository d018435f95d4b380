#include "host/plan/pool_model.hpp"

#include <numeric>

namespace mopt::plan {

PoolBlock PoolModel::take(PoolQueue queue, int64_t bytes) {
  int64_t size = compute::block_bytes(rules_, bytes);
  std::multiset<int64_t>& kept = kept_[static_cast<size_t>(queue)];
  const auto found = kept.lower_bound(size);
  if (found != kept.end() && *found <= compute::largest_block_for(size)) {
    size = *found;
    kept.erase(found);
  } else {
    if (in_use_ + size > limit_) trim();
    in_use_ += size;
    peak_ = std::max(peak_, in_use_);
  }
  live_ += size;
  most_live_ = std::max(most_live_, live_);
  return {queue, size};
}

void PoolModel::give(PoolBlock block) {
  live_ -= block.bytes;
  if (block.bytes >= rules_.huge) {
    in_use_ -= block.bytes;
  } else {
    kept_[static_cast<size_t>(block.queue)].insert(block.bytes);
  }
}

void PoolModel::trim() {
  for (std::multiset<int64_t>& kept : kept_) {
    in_use_ -= std::accumulate(kept.begin(), kept.end(), int64_t{0});
    kept.clear();
  }
}

}  // namespace mopt::plan
