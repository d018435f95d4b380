// The merges of a vocabulary: pair of ids -> rank and merged id. Open addressing, because the
// lookup of a pair is the inner loop of byte pair encoding.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace mopt::text {

class MergeTable {
 public:
  struct Entry {
    uint64_t pair = kEmpty;
    uint32_t rank = 0;
    int32_t merged = 0;
  };

  explicit MergeTable(size_t merges = 0)
      : slots_(std::bit_ceil(merges * 2 + 2)), mask_(slots_.size() - 1) {}

  // A later merge of the same pair replaces the earlier one. At most the number of merges that
  // the table was made for.
  void set(int32_t left, int32_t right, uint32_t rank, int32_t merged) {
    const uint64_t pair = key(left, right);
    slots_[slot(pair)] = {pair, rank, merged};
  }

  const Entry* find(int32_t left, int32_t right) const {
    const uint64_t pair = key(left, right);
    const Entry& entry = slots_[slot(pair)];
    return entry.pair == pair ? &entry : nullptr;
  }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};  // ids are not negative

  static uint64_t key(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  size_t slot(uint64_t pair) const {
    constexpr uint64_t kGolden = 0x9E3779B97F4A7C15u;  // Fibonacci hashing
    size_t at = static_cast<size_t>((pair * kGolden) >> 20) & mask_;
    while (slots_[at].pair != pair && slots_[at].pair != kEmpty) {
      at = (at + 1) & mask_;
    }
    return at;
  }

  std::vector<Entry> slots_;
  size_t mask_;
};

}  // namespace mopt::text
