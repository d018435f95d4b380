#include "host/pipeline/slots.hpp"

#include <iterator>

#include "mopt/error.hpp"

namespace mopt::pipeline {

void Slot::drop() {
  if (ring_ == nullptr) return;
  std::exchange(ring_, nullptr)->give_back(memory_.data(), order_);
  memory_ = {};
  begin_ = size_ = 0;
}

SlotRing::SlotRing(std::span<std::byte> memory, size_t slot_bytes)
    : slot_bytes_(slot_bytes), count_(slot_bytes == 0 ? 0 : memory.size() / slot_bytes) {
  if (count_ == 0 || slot_bytes % kPage != 0 ||
      reinterpret_cast<uintptr_t>(memory.data()) % kPage != 0) {
    throw Error(MOPT_INTERNAL, "a ring needs at least one slot of whole pages, at a page");
  }
  for (size_t i = count_; i-- > 0;)
    free_.push_back(memory.data() + i * slot_bytes);
}

// Waits for the thread that gave back the last slot to be through.
SlotRing::~SlotRing() {
  const std::lock_guard lock(mutex_);
}

// The lowest waiting order has the loosest condition: only it needs to be looked at.
bool SlotRing::may_take(uint64_t order) const {
  if (free_.empty() || order != *waiting_.begin()) return false;
  if (order <= first_) return true;
  const auto later = std::distance(held_.upper_bound(first_), held_.end());
  return static_cast<size_t>(later) + 1 < count_;
}

Slot SlotRing::take(uint64_t order, std::stop_token stop) {
  std::unique_lock lock(mutex_);
  const auto mine = waiting_.insert(order);
  const bool ready =
      changed_.wait(lock, std::move(stop), [&] { return cancelled_ || may_take(order); });
  waiting_.erase(mine);
  // Others of the same order, and the next one, may go now too.
  changed_.notify_all();
  if (!ready || cancelled_) throw Error(MOPT_CANCELLED, "reading was cancelled");
  std::byte* memory = free_.back();
  free_.pop_back();
  held_.insert(order);
  return {*this, {memory, slot_bytes_}, order};
}

void SlotRing::set_first(uint64_t order) {
  const std::lock_guard lock(mutex_);
  first_ = order;
  changed_.notify_all();
}

void SlotRing::cancel() {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  changed_.notify_all();
}

size_t SlotRing::waiting() const {
  const std::lock_guard lock(mutex_);
  return waiting_.size();
}

// Notified under the lock: the ring may be destroyed right after it.
void SlotRing::give_back(std::byte* memory, uint64_t order) {
  const std::lock_guard lock(mutex_);
  free_.push_back(memory);
  held_.erase(held_.find(order));
  changed_.notify_all();
}

}  // namespace mopt::pipeline
