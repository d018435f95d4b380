// The pool of a device's memory without the memory: what it would take from the device.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <set>

#include "host/compute/memory_rules.hpp"

namespace mopt::plan {

// Queues of a run that take memory; what one keeps serves no other.
enum class PoolQueue { kCopies, kCompute, kEncode };

struct PoolBlock {
  PoolQueue queue;
  int64_t bytes;  // of the block, which may be larger than was asked for
};

class PoolModel {
 public:
  // What is kept goes back to the device before more than `limit` bytes are taken.
  explicit PoolModel(const compute::MemoryRules& rules,
                     int64_t limit = std::numeric_limits<int64_t>::max())
      : rules_(rules), limit_(limit) {}
  PoolBlock take(PoolQueue, int64_t bytes);
  void give(PoolBlock);
  // The most that was taken at a time. Above the limit: the work does not fit into it.
  int64_t peak() const { return peak_; }
  // Taken and not given back; and the most of it since the last call of watch().
  int64_t live() const { return live_; }
  int64_t most_live() const { return most_live_; }
  void watch() { most_live_ = live_; }
  const compute::MemoryRules& rules() const { return rules_; }

 private:
  void trim();
  const compute::MemoryRules rules_;
  const int64_t limit_;
  std::array<std::multiset<int64_t>, 3> kept_;
  int64_t in_use_ = 0, peak_ = 0, live_ = 0, most_live_ = 0;
};

}  // namespace mopt::plan
