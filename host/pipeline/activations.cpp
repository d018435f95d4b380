#include "host/pipeline/activations.hpp"

#include <algorithm>
#include <cstring>

#include "host/plan/device_cost.hpp"

namespace mopt::pipeline {

using compute::View;
using graph::ValueId;

namespace {

// Of a value in a row of others, as kernels want it.
constexpr uint64_t kAlignment = 256;
// Batches on the device that rest elsewhere: one comes, one is computed with, one more comes while
// that is under way. What was made of the last ones leaves meanwhile.
constexpr size_t kSlots = 3, kLeaving = 2;
static_assert(kSlots + kLeaving == plan::kBatchesThere, "what --check counts");

uint64_t aligned(uint64_t bytes, uint64_t to) {
  return (bytes + to - 1) / to * to;
}

uint64_t pages(uint64_t bytes) {
  return aligned(bytes, ScratchFile::kPage);
}

uint64_t less(uint64_t bytes, uint64_t taken) {
  return bytes - std::min(bytes, taken);
}

uint64_t sum_from(const std::vector<uint64_t>& bytes, size_t first) {
  uint64_t sum = 0;
  for (size_t i = first; i < bytes.size(); ++i)
    sum += bytes[i];
  return sum;
}

Placement::Share& share_of(Placement& placement, Tier tier) {
  return tier == Tier::kDevice   ? placement.device
         : tier == Tier::kPinned ? placement.pinned
                                 : placement.disk;
}

// As many batches from `first` on as fit into `room`.
size_t fill(Placement& placement, Tier tier, const std::vector<uint64_t>& bytes, size_t first,
            uint64_t room) {
  Placement::Share& share = share_of(placement, tier);
  size_t i = first;
  for (; i < bytes.size() && bytes[i] <= room; ++i) {
    room -= bytes[i];
    share.bytes += bytes[i];
    ++share.batches;
    placement.tiers.push_back(tier);
  }
  return i;
}

void finish(compute::Queue* queue) {
  if (queue == nullptr) return;
  try {
    queue->finish();
  } catch (const Error&) {  // the device is lost, and its work with it
  }
}

}  // namespace

Placement place(const std::vector<uint64_t>& batches, const Resting& resting) {
  Placement placement;
  const uint64_t largest = batches.empty() ? 0 : *std::max_element(batches.begin(), batches.end());
  const bool all = sum_from(batches, 0) <= resting.device;
  const uint64_t passage = all ? 0 : (kSlots + kLeaving) * largest;
  size_t next = fill(placement, Tier::kDevice, batches, 0, less(resting.device, passage));
  uint64_t pinned = resting.file.empty() ? UINT64_MAX : resting.pinned;
  if (sum_from(batches, next) > pinned)
    pinned = less(pinned, ActivationDisk::ring_bytes(pages(largest), resting.piece_bytes));
  next = fill(placement, Tier::kPinned, batches, next, pinned);
  fill(placement, Tier::kDisk, batches, next, UINT64_MAX);
  return placement;
}

std::string text(const Placement& placement) {
  const auto share = [](const Placement::Share& s, const char* where) {
    const uint64_t mib = (s.bytes + (uint64_t{1} << 20) - 1) >> 20;
    return std::string(where) + " (" + std::to_string(mib) + " MiB)";
  };
  std::string text = std::to_string(placement.device.batches) + " of " +
                     std::to_string(placement.tiers.size()) + " batches " +
                     share(placement.device, "on the device");
  if (placement.pinned.batches > 0)
    text += ", " + std::to_string(placement.pinned.batches) + " " +
            share(placement.pinned, "in pinned memory");
  if (placement.disk.batches > 0)
    text += ", " + std::to_string(placement.disk.batches) + " " + share(placement.disk, "on disk");
  return text;
}

uint64_t Activations::at_rest(uint64_t bytes) {
  return aligned(bytes, kAlignment);
}

Activations::Activations(OnDevice* on, Resting resting, const std::vector<uint64_t>& bytes)
    : on_(on), resting_(std::move(resting)), live_(bytes.size()) {
  if (on_ == nullptr) return;
  placement_ = place(bytes, resting_);
  first_passing_ = next_ = placement_.device.batches;
  if (first_passing_ == bytes.size()) return;
  if (resting_.in == nullptr || resting_.out == nullptr)
    throw Error(MOPT_INTERNAL, "activations that leave the device need queues to do so");
  make_homes(bytes);
  const auto largest = static_cast<int64_t>(
      *std::max_element(bytes.begin() + static_cast<std::ptrdiff_t>(first_passing_), bytes.end()));
  for (size_t i = 0; i < std::min(kSlots, bytes.size() - first_passing_); ++i)
    free_.push_back({resting_.in->take(largest), nullptr});
}

void Activations::make_homes(const std::vector<uint64_t>& bytes) {
  homes_.resize(bytes.size());
  for (size_t i = first_passing_; i < bytes.size() && placement_.tiers[i] == Tier::kPinned; ++i)
    pin(i, bytes);
  ActivationDisk::Plan plan{resting_.file, {}, resting_.keep_free, resting_.piece_bytes};
  for (size_t i = first_passing_; i < bytes.size(); ++i) {
    homes_[i].capacity = bytes[i];
    if (placement_.tiers[i] == Tier::kPinned) continue;
    homes_[i].region = plan.regions.size();
    plan.regions.push_back(pages(bytes[i]));
  }
  if (!plan.regions.empty())
    disk_ = std::make_unique<ActivationDisk>(on_->device(), std::move(plan));
}

// Memory that cannot be pinned is not asked for again: this batch and those after it go to the
// disk, and so many before it that there is room for its rings.
void Activations::pin(size_t batch, const std::vector<uint64_t>& bytes) {
  try {
    homes_[batch].pinned = on_->device().take_pinned(static_cast<int64_t>(bytes[batch]));
    return;
  } catch (const Error& e) {
    if (e.code() != MOPT_OUT_OF_MEMORY || resting_.file.empty()) throw;
  }
  const uint64_t largest = *std::max_element(bytes.begin(), bytes.end());
  uint64_t rings = ActivationDisk::ring_bytes(pages(largest), resting_.piece_bytes);
  for (; batch > first_passing_ && rings > 0; rings = less(rings, bytes[batch]))
    homes_[--batch].pinned.reset();
  on_->device().trim();
  for (size_t i = batch; i < bytes.size() && placement_.tiers[i] == Tier::kPinned; ++i) {
    placement_.tiers[i] = Tier::kDisk;
    --placement_.pinned.batches, ++placement_.disk.batches;
    placement_.pinned.bytes -= bytes[i], placement_.disk.bytes += bytes[i];
  }
}

Activations::~Activations() {
  if (on_ == nullptr || first_passing_ == live_.size()) return;
  finish(resting_.in);
  finish(&on_->queue());
  finish(resting_.out);
}

uint64_t Activations::bytes() const {
  uint64_t bytes = 0;
  for (const LiveValues& batch : live_) {
    for (const auto& [v, value] : batch)
      bytes += static_cast<uint64_t>(value.view.bytes());
  }
  for (const Home& home : homes_) {
    for (const Place& place : home.layout.places)
      bytes += static_cast<uint64_t>(place.view.bytes());
  }
  return bytes;
}

void Activations::lay_out(Home& home, const LiveValues& values) {
  home.layout = {};
  for (const auto& [v, value] : values) {
    View view = value.view;
    view.data = nullptr;
    home.layout.places.push_back({v, view, home.layout.bytes});
    home.layout.bytes += at_rest(static_cast<uint64_t>(view.bytes()));
  }
  if (home.layout.bytes > home.capacity)
    throw Error(MOPT_INTERNAL, "a batch holds more between two blocks than was planned for");
}

LiveValues Activations::values_in(const Layout& layout, const compute::Buffer& memory) const {
  LiveValues values;
  for (const Place& place : layout.places) {
    LiveValue& value = values[place.value];
    value = {memory, place.view};
    value.view.data = memory.get() + place.offset;
  }
  return values;
}

void Activations::begin() {
  drop_taken();
  drop_brought();
  next_ = first_passing_;
}

// While another batch is computed with, that one has a slot too.
void Activations::bring_ahead() {
  while (!free_.empty() && next_ < live_.size())
    bring(next_++);
}

void Activations::bring(size_t batch) {
  const Home& home = homes_[batch];
  Passing passing{batch, std::move(free_.front()), nullptr};
  free_.pop_front();
  if (passing.slot.free) resting_.in->wait_for(passing.slot.free);
  if (placement_.tiers[batch] == Tier::kPinned) {
    if (home.filled) resting_.in->wait_for(home.filled);
    resting_.in->copy(passing.slot.memory.get(), home.pinned.get(),
                      static_cast<int64_t>(home.layout.bytes));
    passing.ready = resting_.in->record();
  } else {
    disk_->request(home.region, home.layout.bytes);
  }
  brought_.push_back(std::move(passing));
}

// What comes from the disk is copied as it is read.
void Activations::arrive(Passing& passing) {
  if (passing.ready) return;
  disk_->receive([&](uint64_t offset, pipeline::Slot&& piece) {
    const auto held = std::make_shared<pipeline::Slot>(std::move(piece));
    resting_.in->copy(passing.slot.memory.get() + offset, held->bytes().data(),
                      static_cast<int64_t>(held->bytes().size()));
    resting_.in->call([held] { held->drop(); });
  });
  passing.ready = resting_.in->record();
}

// The slot is free when what the queue has now is done.
void Activations::drop_taken() {
  if (!taken_) return;
  taken_->slot.free = on_->queue().record();
  free_.push_back(std::move(taken_->slot));
  taken_.reset();
}

void Activations::drop_brought() {
  for (Passing& passing : brought_) {
    arrive(passing);
    passing.slot.free = passing.ready;
    free_.push_back(std::move(passing.slot));
  }
  brought_.clear();
}

LiveValues Activations::take(size_t batch) {
  if (on_ == nullptr) return live_[batch];
  if (taken_ && taken_->batch == batch) return values_in(homes_[batch].layout, taken_->slot.memory);
  drop_taken();
  if (passes(batch) && (brought_.empty() ? next_ : brought_.front().batch) != batch) {
    drop_brought();
    next_ = batch;
  }
  bring_ahead();
  if (!passes(batch)) return live_[batch];
  taken_ = std::move(brought_.front());
  brought_.pop_front();
  arrive(*taken_);
  on_->queue().wait_for(taken_->ready);
  return values_in(homes_[batch].layout, taken_->slot.memory);
}

// Into pinned memory or the file, when the device's work so far is done.
void Activations::send_home(const Home& home, Tier tier, const LiveValues& values) {
  resting_.out->wait_for(on_->queue().record());
  if (tier == Tier::kPinned) {
    for (const Place& place : home.layout.places) {
      resting_.out->copy(home.pinned.get() + place.offset, values.at(place.value).view.data,
                         place.view.bytes());
    }
    return;
  }
  disk_->send(home.region, home.layout.bytes, [&](uint64_t offset, std::span<std::byte> piece) {
    for (const Place& place : home.layout.places) {
      const uint64_t begin = std::max(offset, place.offset);
      const uint64_t end =
          std::min(offset + piece.size(), place.offset + static_cast<uint64_t>(place.view.bytes()));
      if (begin >= end) continue;
      const auto* from = static_cast<const std::byte*>(values.at(place.value).view.data);
      resting_.out->copy(piece.data() + (begin - offset), from + (begin - place.offset),
                         static_cast<int64_t>(end - begin));
    }
    return resting_.out->record();
  });
}

// Nothing waits here but for room in the rings of the disk: what left is let go two batches later,
// once the device itself has waited for its copy.
void Activations::put(size_t batch, LiveValues next) {
  if (!passes(batch)) {
    live_[batch] = std::move(next);
    return;
  }
  if (!taken_ || taken_->batch != batch)
    throw Error(MOPT_INTERNAL, "a batch is put back that was not taken");
  Home& home = homes_[batch];
  lay_out(home, next);
  send_home(home, placement_.tiers[batch], next);
  home.filled = resting_.out->record();
  // Values that only pass through still lie in the slot.
  taken_->slot.free = home.filled;
  free_.push_back(std::move(taken_->slot));
  taken_.reset();
  leaving_.push_back({home.filled, std::move(next)});
  if (leaving_.size() <= kLeaving) return;
  on_->queue().wait_for(leaving_.front().gone);
  leaving_.pop_front();
}

compute::Buffer Activations::staging(const Home& home) const {
  return on_->device().take_pinned(static_cast<int64_t>(pages(home.capacity)));
}

LiveValues Activations::read(size_t batch) {
  if (on_ == nullptr) return live_[batch];
  if (passes(batch)) {
    const Home& home = homes_[batch];
    if (placement_.tiers[batch] == Tier::kPinned) {
      if (home.filled) home.filled->wait();
      return values_in(home.layout, home.pinned);
    }
    const compute::Buffer memory = staging(home);
    disk_->read(home.region, {memory.get(), pages(home.layout.bytes)});
    return values_in(home.layout, memory);
  }
  LiveValues values;
  for (const auto& [v, value] : live_[batch]) {
    LiveValue& copy = values[v];
    copy = {on_->device().take_pinned(value.view.bytes()), value.view};
    copy.view.data = copy.buffer.get();
    on_->queue().copy(copy.view.data, value.view.data, value.view.bytes());
  }
  on_->queue().finish();
  return values;
}

void Activations::write(size_t batch, const LiveValues& values) {
  if (on_ == nullptr) {
    live_[batch] = values;
    return;
  }
  if (!passes(batch)) {
    LiveValues& live = live_[batch];
    live.clear();
    for (const auto& [v, value] : values) {
      live[v] = {on_->queue().take(value.view.bytes()), value.view};
      live[v].view.data = live[v].buffer.get();
      on_->queue().copy(live[v].view.data, value.view.data, value.view.bytes());
    }
    return on_->queue().finish();
  }
  begin();
  Home& home = homes_[batch];
  lay_out(home, values);
  const bool pinned = placement_.tiers[batch] == Tier::kPinned;
  // Copies to and from home that are under way.
  resting_.in->finish();
  resting_.out->finish();
  const compute::Buffer memory = pinned ? home.pinned : staging(home);
  for (const Place& place : home.layout.places) {
    std::memcpy(memory.get() + place.offset, values.at(place.value).view.data,
                static_cast<size_t>(place.view.bytes()));
  }
  if (!pinned) disk_->write(home.region, {memory.get(), pages(home.layout.bytes)});
}

}  // namespace mopt::pipeline
