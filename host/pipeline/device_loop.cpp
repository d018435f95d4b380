#include "host/pipeline/device_loop.hpp"

#include <algorithm>
#include <deque>

#include "host/plan/device_cost.hpp"

namespace mopt::pipeline {

using plan::Item;
using plan::Outcome;

namespace {

// Bytes that are on their way to the disk: of what is written aside.
constexpr uint64_t kInFlightAside = uint64_t{64} << 20;
// Bytes of a copied tensor that go from the device to the CPU at a time.
constexpr int64_t kCopyBytes = int64_t{16} << 20;

// Hands a unit's bytes to the threads that write.
class WriteLater final : public UnitSink {
 public:
  explicit WriteLater(WriteBehind& write) : write_(write) {}
  void write(const std::string& name, uint64_t offset, std::span<const std::byte> bytes,
             std::shared_ptr<void> keep) override {
    write_.submit(name, offset, bytes, std::move(keep));
    written_ += bytes.size();
  }

 private:
  WriteBehind& write_;
};

// A copy on the CPU, which is there when the queue's work has passed.
Tensor fetch(OnDevice& on, const void* from, DLDataType dtype, std::span<const int64_t> shape) {
  const auto bytes =
      static_cast<int64_t>(mopt_nbytes(static_cast<uint64_t>(elements(shape)), dtype));
  Tensor copy = tensor_over(on.device().take_pinned(bytes), {kDLCPU, 0}, dtype, shape);
  on.queue().copy(copy.data<char>(), from, bytes);
  return copy;
}

bool only_copied(const plan::Plan& plan, const plan::Unit& unit) {
  return std::all_of(unit.items.begin(), unit.items.end(), [&](size_t i) {
    return plan.items[i].outcome == Outcome::kDropped || plan.items[i].plain_copy();
  });
}

// A failure of the device that has no place yet gets this one. It happened there or before: a
// device is told to work, and what it could not do shows later.
template <class Fn>
auto noticed_at(std::string_view place, const Fn& fn) {
  try {
    return fn();
  } catch (const Error& e) {
    if (e.code() != MOPT_DEVICE || !e.where().empty()) throw;
    throw Error(e.code(), e.what(), std::string(place));
  }
}

}  // namespace

std::string where_it_failed(const Error& e, const plan::Plan& plan, const Journal& journal) {
  const auto open = std::find_if(plan.units.begin(), plan.units.end(), [&](const plan::Unit& u) {
    return !journal.has(u.name) && !only_copied(plan, u);
  });
  std::string text;
  if (open != plan.units.end()) text = "; the first block that is not finished is " + open->name;
  if (!e.where().empty()) text += ", noticed at " + e.where();
  return text;
}

DeviceQueues::DeviceQueues(compute::Device& device, Services& services)
    : copies(device.make_queue("copies"), services),
      compute(device.make_queue("compute"), services),
      encode(device.make_queue("encode"), services),
      aside(device.make_queue("aside"), services),
      activations_in(device.make_queue("activations in")),
      activations_out(device.make_queue("activations out")) {}

// Parts in the device's memory, their copies on the CPU, errors on their way.
struct DeviceLoop::Made {
  size_t item;
  std::vector<NamedTensor> on_device;
  std::vector<NamedTensor> parts;
  std::optional<PendingError> weight_error, output_error;
  // What is not encoded on the device: the weight itself and its sample, on the CPU.
  Tensor weight, sample;
};

DeviceLoop::DeviceLoop(Tools tools)
    : tools_(std::move(tools)),
      encoder_({tools_.job.plan, *tools_.job.source, *tools_.job.exporter, tools_.job.pruner.get(),
                tools_.writer, &tools_.timeline}),
      weights_(tools_.job, tools_.queues.copies, compute_type(*tools_.job.source), tools_.timeline),
      computing_(tools_.timeline, tools_.queues.compute.queue()),
      lane_{tools_.queues.encode,
            WriteBehind(sink(), {std::clamp(tools_.threads / 3, 1, 5), plan::kInFlightBytes, 1},
                        &tools_.timeline),
            DeviceClock(tools_.timeline, tools_.queues.encode.queue())},
      lane_aside_{tools_.queues.aside,
                  WriteBehind(sink(), {std::clamp(tools_.threads / 6, 1, 2), kInFlightAside, 1},
                              &tools_.timeline),
                  DeviceClock(tools_.timeline, tools_.queues.aside.queue())},
      aside_(*this) {}

// Two lanes write; what they bring to the disk they bring there one after the other.
WriteSink DeviceLoop::sink() {
  WriteSink sink = sink_of(tools_.writer);
  sink.sync = [this, sync = std::move(sink.sync)] {
    const std::lock_guard lock(sync_mutex_);
    sync();
  };
  return sink;
}

DeviceLoop::Aside::Aside(DeviceLoop& loop) : loop_(loop), thread_([this] { serve(); }) {}

DeviceLoop::Aside::~Aside() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    queue_.clear();
  }
  loop_.weights_.cancel();
  loop_.lane_aside_.write.cancel();
  changed_.notify_all();
  thread_.join();
}

void DeviceLoop::Aside::push(const plan::Unit& unit) {
  const std::lock_guard lock(mutex_);
  queue_.push_back(&unit);
  changed_.notify_all();
}

void DeviceLoop::Aside::rethrow() {
  const std::lock_guard lock(mutex_);
  if (failure_) std::rethrow_exception(failure_);
}

void DeviceLoop::Aside::drain() {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return failure_ || (queue_.empty() && !busy_); });
    if (failure_) std::rethrow_exception(failure_);
  }
  loop_.lane_aside_.write.drain();
}

void DeviceLoop::Aside::serve() {
  pthread_setname_np(pthread_self(), "aside");
  std::unique_lock lock(mutex_);
  while (true) {
    busy_ = false;
    changed_.notify_all();
    changed_.wait(lock, [&] { return ended_ || !queue_.empty(); });
    if (ended_) return;
    const plan::Unit& next = *queue_.front();
    queue_.pop_front();
    busy_ = true;
    lock.unlock();
    std::exception_ptr failure;
    try {
      loop_.encode(loop_.lane_aside_, next, nullptr, {});
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    if (failure && !failure_) failure_ = failure;
  }
}

// Units that the journal lacks, and the blocks before them that have to be run again.
std::vector<DeviceStep> DeviceLoop::steps() const {
  std::vector<DeviceStep> steps;
  const plan::Plan& plan = tools_.job.plan;
  int next = tools_.pass == nullptr ? 0 : static_cast<int>(tools_.pass->stream().next_block());
  for (const plan::Unit& unit : plan.units) {
    if (tools_.journal.has(unit.name)) continue;
    const bool forward =
        tools_.pass != nullptr && unit.block >= 0 && unit.block <= plan.last_forward_block;
    for (; forward && next < unit.block; ++next)
      steps.push_back({next, nullptr});
    const bool copied = only_copied(plan, unit);
    // What is only copied is read again for that: a run does not wait for its hash.
    if (copied && forward) steps.push_back({unit.block, nullptr});
    steps.push_back({forward && !copied ? unit.block : -1, &unit, copied});
    if (forward) next = unit.block + 1;
  }
  return steps;
}

void DeviceLoop::drain() {
  lane_.write.drain();
  {
    const Timeline::Scope scope(&tools_.timeline, Phase::kWaitWrite);
    aside_.drain();
  }
  tell();
}

// Units whose bytes are on the CPU outlast the device.
void DeviceLoop::run() {
  try {
    run_steps();
  } catch (const Error& e) {
    if (e.code() == MOPT_DEVICE) lane_.write.drain();
    throw;
  }
}

void DeviceLoop::run_steps() {
  const std::vector<DeviceStep> all = this->steps();
  std::vector<DeviceStep> steps;
  for (const DeviceStep& step : all) {
    if (!step.copied) steps.push_back(step);
  }
  std::deque<std::unique_ptr<LoadedStep>> ahead;
  size_t next = 0;
  const auto read_on = [&](size_t until) {
    for (; next < std::min(until, steps.size()); ++next)
      ahead.push_back(weights_.load(steps[next]));
  };
  read_on(plan::kStepsOnDevice);
  const std::future<void> foreseen =
      tools_.pass == nullptr ? std::future<void>() : tools_.pass->foresee();
  for (const DeviceStep& step : all) {
    if (step.copied) aside_.push(*step.unit);
  }
  std::optional<Forwarded> before;
  for (size_t i = 0; i < steps.size(); ++i) {
    read_on(i + plan::kStepsOnDevice);
    std::unique_ptr<LoadedStep> loaded = std::move(ahead.front());
    ahead.pop_front();
    {
      const Timeline::Scope scope(&tools_.timeline, Phase::kWaitRead, loaded->unit_name());
      loaded->wait();
    }
    std::future<Observed> observed = begin_forward(*loaded);
    if (before) finish(*std::exchange(before, std::nullopt));
    Observed found;
    {
      const Timeline::Scope scope(&tools_.timeline, Phase::kWaitDevice, loaded->unit_name());
      found = observed.get();
    }
    before.emplace(Forwarded{std::move(loaded), std::move(found)});
    tell();
    aside_.rethrow();
    if (!tools_.wants_pause() || i + 1 == steps.size()) continue;
    finish(*std::exchange(before, std::nullopt));
    drain();
    tools_.pause();
  }
  if (before) finish(*std::move(before));
  drain();
}

// On a thread of its own, which has the queues of the pass until then: it may have to wait for
// activations from the disk.
std::future<Observed> DeviceLoop::begin_forward(LoadedStep& loaded) {
  return std::async(loaded.step().block < 0 ? std::launch::deferred : std::launch::async,
                    [this, &loaded] {
                      if (loaded.step().block >= 0) pthread_setname_np(pthread_self(), "forward");
                      return forward(loaded);
                    });
}

Observed DeviceLoop::forward(LoadedStep& loaded) {
  const DeviceStep& step = loaded.step();
  if (step.block < 0) return {};
  const std::string name = range_name(Phase::kForward, loaded.unit_name());
  const compute::Range range(&tools_.queues.compute.device(), name.c_str());
  tools_.queues.compute.queue().wait_for(loaded.ready());
  return noticed_at(loaded.unit_name(), [&] {
    return tools_.pass->run_block(
        step.unit == nullptr ? CalibrationPass::Observe::kNo : CalibrationPass::Observe::kYes,
        [&](const std::string& name) { return loaded.find(name)->computed; });
  });
}

Calibrated DeviceLoop::solve(Forwarded& forwarded) {
  if (!forwarded.observed.ready) return {};
  const std::string_view unit = forwarded.loaded->unit_name();
  {
    const Timeline::Scope scope(&tools_.timeline, Phase::kWaitDevice, unit);
    forwarded.observed.ready->wait();
  }
  computing_.add(Phase::kForward, unit, *forwarded.observed.begun, *forwarded.observed.ready);
  if (forwarded.loaded->step().unit == nullptr) return {};
  const Timeline::Scope scope(&tools_.timeline, Phase::kSolve, unit);
  return tools_.pass->solve(std::move(forwarded.observed), tools_.job.calibrators);
}

void DeviceLoop::finish(Forwarded forwarded) {
  const Calibrated found = solve(forwarded);
  if (forwarded.loaded->step().unit == nullptr) return;
  const Timeline::Scope scope(&tools_.timeline, Phase::kEncode, forwarded.loaded->unit_name());
  encode(lane_, *forwarded.loaded->step().unit, forwarded.loaded.get(), found);
}

// Enqueues what turns a weight into its parts, their errors, and the copies to the CPU.
void DeviceLoop::encode_on_device(Lane& lane, Made& made, const WeightOnDevice& weight, float range,
                                  const Calibrated& found) {
  OnDevice& on = lane.on;
  const plan::Plan& plan = tools_.job.plan;
  const Item& item = plan.items[made.item];
  const plan::Format& format = *plan.formats[static_cast<size_t>(item.weight)];
  const TensorRef view = on.tensor(weight.view);
  const mopt_weight_job job{sizeof(mopt_weight_job), 0,    str(item.name), view.get(),
                            weight.scan.absmax,      range};
  lane.clock.enter(Phase::kEncode);
  made.on_device = noticed_at(item.name, [&] { return format.quantizer.quantize(on.exec(), job); });
  lane.clock.enter(Phase::kCopyOut);
  for (const NamedTensor& part : made.on_device) {
    const DLTensor& t = *part.tensor;
    made.parts.push_back({part.name, fetch(on, data<char>(t), t.dtype, shape(t))});
  }
  lane.clock.enter(Phase::kEncode);
  const QuantizedWeight quantized{plan, item, on.exec(), made.on_device};
  const DeviceLayer layer{on, quantized, weight.view};
  made.weight_error.emplace(weight_error_on_device(layer));
  const auto sample = found.sample.find(made.item);
  if (sample == found.sample.end()) return;
  const auto range_of_input = found.input_range.find(made.item);
  std::optional<float> scale;
  if (range_of_input != found.input_range.end()) {
    scale = plan.formats[static_cast<size_t>(item.input)]->quantizer.input_scale(
        MOPT_OPERAND_INPUT, range_of_input->second);
  }
  const bool served = item.input == plan::kNoFormat ||
                      on.serves(plan.formats[static_cast<size_t>(item.input)]->quantizer);
  if (served) made.output_error.emplace(output_error_on_device(layer, **sample->second, scale));
}

DeviceLoop::Made DeviceLoop::make(Lane& lane, size_t index, const WeightOnDevice& weight,
                                  float range, const Calibrated& found) {
  const Item& item = tools_.job.plan.items[index];
  Made made{index, {}, {}, {}, {}, {}, {}};
  const bool served =
      item.outcome == Outcome::kQuantized && !item.pruned &&
      lane.on.serves(tools_.job.plan.formats[static_cast<size_t>(item.weight)]->quantizer);
  if (served) {
    encode_on_device(lane, made, weight, range, found);
    return made;
  }
  lane.clock.enter(Phase::kCopyOut);
  made.weight = fetch(lane.on, weight.view.data, item.dtype, item.shape);
  if (const auto sample = found.sample.find(index); sample != found.sample.end()) {
    const DLTensor& t = **sample->second;
    made.sample = fetch(lane.on, data<char>(t), t.dtype, shape(t));
  }
  return made;
}

// Returns when the device has done what a unit's encoding asked for.
void DeviceLoop::await_device(Lane& lane, const plan::Unit& unit) {
  {
    const Timeline::Scope scope(&tools_.timeline, Phase::kWaitDevice, unit.name);
    lane.clock.leave()->wait();
  }
  lane.clock.tell(unit.name);
}

// Bit for bit, in pieces, so that a large tensor needs little memory on the CPU.
void DeviceLoop::write_copy(Lane& lane, const plan::Unit& unit, const WeightOnDevice& weight,
                            UnitSink& out) {
  OnDevice& on = lane.on;
  const std::string& name = weight.item->outputs.at(0).name;
  const int64_t bytes = weight.view.bytes();
  for (int64_t at = 0; at < bytes; at += kCopyBytes) {
    const int64_t n = std::min(kCopyBytes, bytes - at);
    const compute::Buffer piece = on.device().take_pinned(n);
    lane.clock.enter(Phase::kCopyOut);
    on.queue().copy(piece.get(), weight.stored.get() + at, n);
    await_device(lane, unit);
    out.write(name, static_cast<uint64_t>(at), {piece.get(), static_cast<size_t>(n)}, piece);
  }
}

// An item whose bytes are on the CPU now.
void DeviceLoop::store(Made& made, const Scan& scan, float range, const Calibrated& found,
                       UnitRecord& record, UnitSink& out) {
  const Item& item = tools_.job.plan.items[made.item];
  if (!made.parts.empty()) {
    MadeParts parts{std::move(made.parts), made.weight_error->ratio(), {}};
    if (made.output_error) parts.output_error = made.output_error->ratio();
    encoder_.finish_parts(made.item, found, parts.parts);
    return encoder_.store(made.item, std::move(parts), scan, record, out);
  }
  const auto kept = std::make_shared<Tensor>(std::move(made.weight));
  const TensorRef view(kept->data<void>(), item.dtype, item.shape);
  if (item.outcome == Outcome::kCopied)
    return encoder_.copy_with_scales(made.item, view, kept, found, record, out);
  Calibrated on_cpu{found.input_range, found.kv_range, {}, {}};
  if (made.sample) on_cpu.sample[made.item] = &made.sample;
  encoder_.quantize(made.item, view, scan, range, on_cpu, record, out);
}

void DeviceLoop::encode(Lane& lane, const plan::Unit& unit, const LoadedStep* loaded,
                        const Calibrated& found) {
  const plan::Plan& plan = tools_.job.plan;
  if (loaded != nullptr) lane.on.queue().wait_for(loaded->ready());
  const auto loaded_as = [&](const Item& item) {
    return loaded == nullptr ? nullptr : loaded->find(item.source);
  };
  UnitRecord record;
  record.unit = unit.name;
  lane.write.begin_unit(unit.name);
  WriteLater out(lane.write);
  Scans scans(unit.items.size());
  std::vector<std::future<Delivered>> passing(unit.items.size());
  for (size_t i = 0; i < unit.items.size(); ++i) {
    const Item& item = plan.items[unit.items[i]];
    if (const WeightOnDevice* weight = loaded_as(item)) {
      scans[i] = weight->scan;
      continue;
    }
    DeviceWeights::Take take;
    if (item.outcome == Outcome::kCopied) {
      take = [&lane, &item](uint64_t offset, std::shared_ptr<Slot> slot) {
        const auto bytes = slot->bytes();
        lane.write.submit(item.outputs.at(0).name, offset, bytes, std::move(slot));
      };
    }
    passing[i] = weights_.pass_on(unit, item, std::move(take));
  }
  const std::map<std::string, float> groups = encoder_.group_ranges(unit, scans);
  const auto range_of = [&](size_t i) {
    const auto group = groups.find(plan.items[unit.items[i]].fuse_group);
    return group == groups.end() ? scans[i].absmax : group->second;
  };
  std::map<size_t, Made> made;
  for (size_t i = 0; i < unit.items.size(); ++i) {
    const Item& item = plan.items[unit.items[i]];
    const WeightOnDevice* weight = loaded_as(item);
    if (weight == nullptr || item.outcome == Outcome::kDropped || item.plain_copy()) continue;
    made.emplace(i, make(lane, unit.items[i], *weight, range_of(i), found));
  }
  if (!made.empty()) await_device(lane, unit);
  for (size_t i = 0; i < unit.items.size(); ++i) {
    const size_t index = unit.items[i];
    const WeightOnDevice* weight = loaded_as(plan.items[index]);
    if (passing[i].valid()) {
      const Timeline::Scope scope(&tools_.timeline, Phase::kWaitRead, unit.name);
      scans[i].sha256 = await_read(passing[i], lane.on.queue()).sha256;
    }
    record.ledger.push_back(encoder_.entry(index, scans[i]));
    if (const auto mine = made.find(i); mine != made.end()) {
      store(mine->second, scans[i], range_of(i), found, record, out);
    } else if (weight != nullptr && plan.items[index].plain_copy()) {
      write_copy(lane, unit, *weight, out);
    }
  }
  commit(lane, std::move(record), unit);
}

void DeviceLoop::commit(Lane& lane, UnitRecord record, const plan::Unit& unit) {
  lane.write.end_unit([this, &unit, held = std::make_shared<UnitRecord>(std::move(record))](
                          const WrittenUnit& written) {
    std::map<std::string_view, const std::string*> hashes;
    for (const WrittenTensor& t : written)
      hashes[t.name] = &t.xxh128;
    seal(*held, [&](const std::string& tensor) { return *hashes.at(tensor); });
    const std::lock_guard lock(mutex_);
    tools_.journal.append(std::move(*held));
    committed_.push_back(&unit);
  });
}

void DeviceLoop::tell() {
  std::vector<const plan::Unit*> units;
  {
    const std::lock_guard lock(mutex_);
    units.swap(committed_);
  }
  for (const plan::Unit* unit : units)
    tools_.done(*unit);
}

}  // namespace mopt::pipeline
