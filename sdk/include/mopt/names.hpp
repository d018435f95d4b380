// A set of tensor names, numbered in the order of their coming: 8 bytes a slot and no allocation
// per name, for there may be a million of them. Names are told apart by 32 bits of their hash
// first, so that a fresh name is hardly ever compared with another.
#pragma once

#include <bit>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

namespace mopt {

class NameTable {
 public:
  // Room for `n` names, which are borrowed.
  explicit NameTable(size_t n) : slots_(std::bit_ceil(2 * n + 2)), mask_(slots_.size() - 1) {
    names_.reserve(n);
  }

  // Advice that a name will be asked for soon: in a large table the place where it belongs is
  // seldom in a cache. kAhead names earlier is a good time.
  static constexpr size_t kAhead = 8;
  void prefetch(std::string_view name) const {
#if defined(__GNUC__)
    __builtin_prefetch(&slots_[std::hash<std::string_view>()(name) & mask_]);
#else
    static_cast<void>(name);
#endif
  }

  // The number that the name has already; nullopt: it was not there and got the next one.
  std::optional<uint32_t> add(std::string_view name) {
    const uint64_t hash = std::hash<std::string_view>()(name);
    Slot& slot = slots_[place(name, hash)];
    if (slot.number != kFree) return slot.number;
    slot = {tag(hash), static_cast<uint32_t>(names_.size())};
    names_.push_back(name);
    return std::nullopt;
  }

  std::optional<uint32_t> find(std::string_view name) const {
    const Slot& slot = slots_[place(name, std::hash<std::string_view>()(name))];
    return slot.number == kFree ? std::nullopt : std::optional(slot.number);
  }

 private:
  static constexpr uint32_t kFree = UINT32_MAX;
  struct Slot {
    uint32_t tag = 0, number = kFree;
  };
  static uint32_t tag(uint64_t hash) {
    return static_cast<uint32_t>(hash >> 32);
  }

  // Where the name is, or the free slot where it belongs.
  size_t place(std::string_view name, uint64_t hash) const {
    size_t at = hash & mask_;
    while (slots_[at].number != kFree &&
           (slots_[at].tag != tag(hash) || names_[slots_[at].number] != name)) {
      at = (at + 1) & mask_;
    }
    return at;
  }

  std::vector<Slot> slots_;  // at least half of them free
  size_t mask_;
  std::vector<std::string_view> names_;
};

}  // namespace mopt
