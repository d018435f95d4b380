#include "host/pipeline/device_weights.hpp"

#include <algorithm>
#include <chrono>
#include <thread>

#include "host/compute/absmax/absmax.hpp"
#include "host/compute/cast/cast.hpp"
#include "host/plan/device_cost.hpp"

namespace mopt::pipeline {

using plan::Item;
using plan::Outcome;

namespace {

// Tensors that are read at a time: SHA-256 does 2 GB/s on a core, the bus to the device 55.
constexpr int kMostLanes = 8;

int lanes() {
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()) / 2, 1, kMostLanes);
}

// Of a tensor that several lanes read.
constexpr uint64_t kPartBytes = uint64_t{64} << 20;

// Between two looks at the device while something is read.
constexpr std::chrono::milliseconds kPatience{100};

// Looks for the range of bytes from `offset` on, and for what is no number.
void search(const Item& item, DLDataType dtype, uint64_t offset, std::span<const std::byte> bytes,
            Scan& scan) {
  const auto width = static_cast<uint64_t>(dtype.bits / 8);
  const auto found = compute::absmax(
      compute::view_of(bytes.data(), dtype, {static_cast<int64_t>(bytes.size() / width)}));
  if (found.first_not_finite >= 0)
    not_finite(item, static_cast<int64_t>(offset / width) + found.first_not_finite);
  scan.absmax = std::max(scan.absmax, found.value);
}

}  // namespace

Delivered await_read(std::future<Delivered>& read, compute::Queue& queue) {
  while (read.wait_for(kPatience) != std::future_status::ready)
    queue.record();
  return read.get();
}

LoadedStep::~LoadedStep() {
  for (auto& [source, read] : reads_) {
    if (!read.valid()) continue;
    reader_->cancel();
    read.wait();
  }
}

void LoadedStep::wait() {
  for (auto& [source, read] : reads_)
    weights_.at(source).scan.sha256 = await_read(read, copies_->queue()).sha256;
  reads_.clear();
  compute::Options options;
  options.queue = &copies_->queue();
  for (auto& [source, weight] : weights_) {
    if (weight.view.data == weight.computed.data) continue;
    compute::cast(weight.view, weight.computed, options);
  }
  ready_ = copies_->queue().record();
}

const WeightOnDevice* LoadedStep::find(const std::string& source) const {
  const auto found = weights_.find(source);
  return found == weights_.end() ? nullptr : &found->second;
}

DeviceWeights::DeviceWeights(const Prepared& job, OnDevice& copies, DLDataType dtype,
                             Timeline& timeline)
    : job_(job), copies_(copies), dtype_(dtype), timeline_(timeline) {
  memory_ = copies_.device().take_pinned(plan::kSlotBytes * plan::kRingSlots);
  ring_.emplace(std::span(memory_.get(), plan::kSlotBytes * plan::kRingSlots), plan::kSlotBytes);
  reader_.emplace(*ring_, lanes(), &timeline_);
}

// Copies that are under way still hold slots.
DeviceWeights::~DeviceWeights() {
  reader_.reset();
  try {
    copies_.queue().finish();
  } catch (const Error&) {  // the device is lost, and its copies with it
  }
}

std::unique_ptr<LoadedStep> DeviceWeights::load(const DeviceStep& step) {
  auto loaded = std::make_unique<LoadedStep>();
  loaded->step_ = step;
  loaded->copies_ = &copies_;
  loaded->reader_ = &*reader_;
  const graph::Model* graph = job_.source->graph();
  const plan::Unit* unit = step.unit == nullptr ? unit_of(step.block) : step.unit;
  if (unit != nullptr) loaded->unit_name_ = unit->name;
  const auto item_of = [&](const std::string& source) -> const Item* {
    if (unit == nullptr) return nullptr;
    for (const size_t i : unit->items) {
      if (job_.plan.items[i].source == source) return &job_.plan.items[i];
    }
    return nullptr;
  };
  if (step.block >= 0) {
    for (const int p : graph->blocks[static_cast<size_t>(step.block)].params) {
      const std::string& source = graph->params[static_cast<size_t>(p)].name;
      load(*loaded, source, item_of(source));
    }
  }
  if (step.unit == nullptr) return loaded;
  for (const size_t i : step.unit->items) {
    const Item& item = job_.plan.items[i];
    if (item.worked_on()) load(*loaded, item.source, &item);
  }
  return loaded;
}

// The unit of a block that is only forwarded: its weights are searched for what is no number.
const plan::Unit* DeviceWeights::unit_of(int block) const {
  for (const plan::Unit& unit : job_.plan.units) {
    if (unit.block == block) return &unit;
  }
  return nullptr;
}

void DeviceWeights::load(LoadedStep& step, const std::string& source, const Item* item) {
  const auto [entry, fresh] = step.weights_.try_emplace(source);
  WeightOnDevice& weight = entry->second;
  if (!fresh) {  // an untied head shares its source with the embedding
    if (weight.item == nullptr || !weight.item->worked_on()) weight.item = item;
    return;
  }
  const Container& container = job_.source->container();
  const mopt::StoredTensor& t = *container.find(source);
  weight.item = item;
  weight.view = compute::view_of(nullptr, t.dtype, t.shape);
  weight.stored = copies_.queue().take(weight.view.bytes());
  weight.view.data = weight.stored.get();
  weight.computed = weight.view;
  if (step.step_.block >= 0 && !same(t.dtype, dtype_)) {
    weight.computed.dtype = dtype_;
    weight.converted = copies_.queue().take(weight.computed.bytes());
    weight.computed.data = weight.converted.get();
  }
  const bool searched = item != nullptr && needs_range(*item);
  const bool hashed = item != nullptr && step.step_.unit != nullptr;
  const auto deliver = [this, &weight, item, searched, hashed, unit = step.unit_name_](
                           uint64_t offset, Slot&& slot) {
    Scan unused;  // of what other threads search too
    Scan& scan = hashed ? weight.scan : unused;
    if (searched) search(*item, weight.view.dtype, offset, slot.bytes(), scan);
    copy(unit, weight.stored.get() + offset, std::move(slot));
  };
  const Digest digest = hashed ? Digest::kSha256 : Digest::kNone;
  // What is not hashed, as the embedding before its own unit comes, is read by all lanes.
  const bool split = !hashed && may_be_split(container, t);
  const uint64_t part = split ? kPartBytes : std::max<uint64_t>(1, t.bytes());
  for (uint64_t at = 0; at == 0 || at < t.bytes(); at += part) {
    step.reads_.emplace_back(source, reader_->submit({container, t, digest, deliver, !hashed,
                                                      step.unit_name_, at, at + part}));
  }
}

// The callback runs when the copy has passed; it began when the one before it had.
void DeviceWeights::copy(std::string_view unit, std::byte* to, Slot&& slot) {
  const std::string name = range_name(Phase::kCopyIn, unit);
  const compute::Range range(&copies_.device(), name.c_str());
  const auto held = std::make_shared<Slot>(std::move(slot));
  const double asked = timeline_.now();
  copies_.queue().copy(to, held->bytes().data(), static_cast<int64_t>(held->bytes().size()));
  copies_.queue().call([this, held, unit, asked] {
    held->drop();
    const double end = timeline_.now();
    timeline_.add(Phase::kCopyIn, unit, {std::max(asked, copied_.exchange(end)), end});
  });
}

std::future<Delivered> DeviceWeights::pass_on(const plan::Unit& unit, const Item& item, Take take) {
  const Container& container = job_.source->container();
  const mopt::StoredTensor& t = *container.find(item.source);
  const bool searched = needs_range(item);
  const auto deliver = [&item, &t, searched, take = std::move(take)](uint64_t offset, Slot&& slot) {
    Scan unused;
    if (searched) search(item, t.dtype, offset, slot.bytes(), unused);
    if (take) take(offset, std::make_shared<Slot>(std::move(slot)));
  };
  return reader_->submit({container, t, Digest::kSha256, deliver, false, unit.name});
}

}  // namespace mopt::pipeline
