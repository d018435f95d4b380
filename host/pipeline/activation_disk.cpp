#include "host/pipeline/activation_disk.hpp"

#include <pthread.h>

#include <algorithm>
#include <numeric>

#include "mopt/error.hpp"

namespace mopt::pipeline {
namespace {

// Reads and writes under way at a time: a disk reaches its rate with a few of some megabytes.
constexpr int kReaders = 4, kWriters = 4;
// Slots of a ring: two regions where they fit, so that one passes while the next is read.
constexpr uint64_t kFewestSlots = 4, kMostSlots = 32;

uint64_t pages(uint64_t bytes) {
  return (bytes + ScratchFile::kPage - 1) / ScratchFile::kPage * ScratchFile::kPage;
}

// Bytes and number of a ring's slots.
std::pair<uint64_t, uint64_t> slots_for(uint64_t largest_region, uint64_t piece_bytes) {
  const uint64_t slot = pages(std::max<uint64_t>(1, std::min(largest_region, piece_bytes)));
  return {slot, std::clamp(2 * ((largest_region + slot - 1) / slot), kFewestSlots, kMostSlots)};
}

uint64_t largest(const std::vector<uint64_t>& regions) {
  return regions.empty() ? 0 : *std::max_element(regions.begin(), regions.end());
}

std::vector<uint64_t> starts(const std::vector<uint64_t>& regions) {
  std::vector<uint64_t> at(regions.size());
  std::exclusive_scan(regions.begin(), regions.end(), at.begin(), uint64_t{0});
  return at;
}

uint64_t sum(const std::vector<uint64_t>& regions) {
  return std::accumulate(regions.begin(), regions.end(), uint64_t{0});
}

}  // namespace

uint64_t ActivationDisk::ring_bytes(uint64_t largest_region, uint64_t piece_bytes) {
  const auto [slot, count] = slots_for(largest_region, piece_bytes);
  return 2 * slot * count;
}

ActivationDisk::Ring::Ring(compute::Device& device, size_t slot_bytes, size_t count)
    : memory(device.take_pinned(static_cast<int64_t>(slot_bytes * count))),
      slots({memory.get(), slot_bytes * count}, slot_bytes) {}

ActivationDisk::ActivationDisk(compute::Device& device, Plan plan)
    : start_(starts(plan.regions)),
      piece_bytes_(slots_for(largest(plan.regions), plan.piece_bytes).first),
      file_(std::move(plan.file), sum(plan.regions), plan.keep_free),
      in_(device, piece_bytes_, slots_for(largest(plan.regions), plan.piece_bytes).second),
      out_(device, piece_bytes_, in_.slots.count()),
      unwritten_(plan.regions.size()) {
  for (int i = 0; i < kReaders + kWriters; ++i) {
    const bool reads = i < kReaders;
    threads_.emplace_back([this, reads] { reads ? read_all() : write_all(); });
    pthread_setname_np(threads_.back().native_handle(), reads ? "rest-read" : "rest-write");
  }
}

ActivationDisk::~ActivationDisk() {
  in_.slots.cancel();
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }
  for (std::thread& thread : threads_)
    thread.join();
}

void ActivationDisk::fail(std::exception_ptr failure) {
  const std::lock_guard lock(mutex_);
  if (!failure_) failure_ = std::move(failure);
  to_write_.clear();
  changed_.notify_all();
}

void ActivationDisk::check() const {
  if (failure_) std::rethrow_exception(failure_);
}

void ActivationDisk::request(size_t region, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  check();
  pieces_.push_back(0);
  for (uint64_t at = 0; at < bytes; at += piece_bytes_, ++pieces_.back()) {
    const auto size = static_cast<size_t>(std::min<uint64_t>(piece_bytes_, bytes - at));
    requested_.push_back(std::make_shared<Read>(Read{region, at, size, {}}));
    to_read_.push_back(requested_.back());
  }
  changed_.notify_all();
}

void ActivationDisk::receive(const Take& take) {
  std::unique_lock lock(mutex_);
  for (size_t& left = pieces_.front(); left > 0; --left) {
    const std::shared_ptr<Read> next = requested_.front();
    changed_.wait(lock, [&] { return failure_ || next->done; });
    check();
    requested_.pop_front();
    lock.unlock();
    take(next->offset, std::move(next->slot));
    lock.lock();
  }
  pieces_.pop_front();
}

void ActivationDisk::send(size_t region, uint64_t bytes, const Fill& fill) {
  for (uint64_t at = 0; at < bytes; at += piece_bytes_) {
    Slot slot = out_.slots.take();
    {
      const std::lock_guard lock(mutex_);
      check();
    }
    const auto size = static_cast<size_t>(std::min<uint64_t>(piece_bytes_, bytes - at));
    compute::EventPtr filled = fill(at, slot.memory().first(size));
    slot.fill(0, pages(size));
    const std::lock_guard lock(mutex_);
    check();
    ++unwritten_[region];
    to_write_.push_back({region, at, std::move(slot), std::move(filled)});
    changed_.notify_all();
  }
}

void ActivationDisk::wait_written(size_t region) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return failure_ || unwritten_[region] == 0; });
  check();
}

void ActivationDisk::read(size_t region, std::span<std::byte> bytes) {
  wait_written(region);
  file_.read(start_[region], bytes);
}

void ActivationDisk::write(size_t region, std::span<const std::byte> bytes) {
  wait_written(region);
  file_.write(start_[region], bytes);
}

void ActivationDisk::read_all() {
  try {
    for (;;) {
      std::shared_ptr<Read> next;
      {
        const std::lock_guard in_order(taking_);
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return ended_ || !to_read_.empty(); });
        if (ended_) return;
        next = std::move(to_read_.front());
        to_read_.pop_front();
        lock.unlock();
        next->slot = in_.slots.take();
      }
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return ended_ || failure_ || unwritten_[next->region] == 0; });
        if (ended_ || failure_) return;
      }
      file_.read(start_[next->region] + next->offset, next->slot.memory().first(pages(next->size)));
      next->slot.fill(0, next->size);
      const std::lock_guard lock(mutex_);
      next->done = true;
      changed_.notify_all();
    }
  } catch (...) {
    fail(std::current_exception());
  }
}

void ActivationDisk::write_all() {
  try {
    for (;;) {
      Write next;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return ended_ || !to_write_.empty(); });
        if (ended_) return;
        next = std::move(to_write_.front());
        to_write_.pop_front();
      }
      next.filled->wait();
      file_.write(start_[next.region] + next.offset, next.slot.bytes());
      next.slot.drop();
      const std::lock_guard lock(mutex_);
      --unwritten_[next.region];
      changed_.notify_all();
    }
  } catch (...) {
    fail(std::current_exception());
  }
}

}  // namespace mopt::pipeline
