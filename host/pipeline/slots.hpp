// A ring of equal pieces of memory that the caller owns (pinned, for a device): what is read from
// the disk passes through it and is given back when it has been copied away.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <set>
#include <span>
#include <stop_token>
#include <utility>
#include <vector>

namespace mopt::pipeline {

class SlotRing;

// One slot; it goes back to its ring when it is dropped, by whichever thread. Must not outlive the
// ring.
class Slot {
 public:
  Slot() = default;
  Slot(Slot&& o) noexcept { swap(o); }
  Slot& operator=(Slot&& o) noexcept {
    Slot taken(std::move(o));
    swap(taken);
    return *this;
  }
  ~Slot() { drop(); }

  explicit operator bool() const { return ring_ != nullptr; }
  // All of it, and the part that holds data.
  std::span<std::byte> memory() const { return memory_; }
  std::span<std::byte> bytes() const { return memory_.subspan(begin_, size_); }
  void fill(size_t begin, size_t size) { begin_ = begin, size_ = size; }
  void drop();

 private:
  friend class SlotRing;
  Slot(SlotRing& ring, std::span<std::byte> memory, uint64_t order)
      : ring_(&ring), memory_(memory), order_(order) {}
  void swap(Slot& o) {
    std::swap(ring_, o.ring_), std::swap(memory_, o.memory_), std::swap(order_, o.order_);
    std::swap(begin_, o.begin_), std::swap(size_, o.size_);
  }

  SlotRing* ring_ = nullptr;
  std::span<std::byte> memory_;
  uint64_t order_ = 0;
  size_t begin_ = 0, size_ = 0;
};

// Who takes slots says with an `order` how early what it reads is needed. Lower orders are served
// first, and orders above `first` never hold all slots together: whoever is first gets one as soon
// as those before it have given back theirs, whatever the later ones wait for.
class SlotRing {
 public:
  // `memory` starts at a page and holds at least one slot of whole pages; it must outlive the ring.
  SlotRing(std::span<std::byte> memory, size_t slot_bytes);
  // Every slot must have come back.
  ~SlotRing();
  SlotRing(const SlotRing&) = delete;
  SlotRing& operator=(const SlotRing&) = delete;

  static constexpr size_t kPage = 4096;
  size_t slot_bytes() const { return slot_bytes_; }
  size_t count() const { return count_; }

  // Waits for a free one. Throws Error MOPT_CANCELLED after cancel() or a stop.
  Slot take(uint64_t order = 0, std::stop_token = {});
  // From now on only orders above this one count as later.
  void set_first(uint64_t order);
  void cancel();
  // How many wait for a slot now.
  size_t waiting() const;

 private:
  friend class Slot;
  void give_back(std::byte* memory, uint64_t order);
  bool may_take(uint64_t order) const;

  const size_t slot_bytes_, count_;
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::vector<std::byte*> free_;
  std::multiset<uint64_t> waiting_, held_;  // orders
  uint64_t first_ = 0;
  bool cancelled_ = false;
};

}  // namespace mopt::pipeline
