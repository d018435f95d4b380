#include "host/plan/device_cost.hpp"

#include <algorithm>
#include <deque>

#include "host/compute/range/range.hpp"
#include "host/compute/squared_error/squared_error.hpp"
#include "host/plan/cost.hpp"
#include "host/plan/device_forward.hpp"
#include "host/plan/forward_cost.hpp"

namespace mopt::plan {
namespace {

using graph::ValueId;

// Made by the host, on the CPU.
bool is_calibrated_scale(std::string_view role) {
  return role == MOPT_ROLE_INPUT_SCALE || role == MOPT_ROLE_K_SCALE || role == MOPT_ROLE_V_SCALE;
}

bool encoded_there(const Plan& plan, const Item& item, const compute::MemoryRules& rules) {
  return item.outcome == Outcome::kQuantized && !item.pruned &&
         plan.formats[static_cast<size_t>(item.weight)]->quantizer.serves(rules.type);
}

int64_t bytes_of(int64_t elements, DLDataType dtype) {
  return static_cast<int64_t>(mopt_nbytes(static_cast<uint64_t>(elements), dtype));
}

// What is done with one block or unit.
struct Step {
  int block = -1;  // that is forwarded; -1: none
  const Unit* unit = nullptr;
};

// As DeviceLoop has them, less the units that only pass through the process.
std::vector<Step> steps_of(const Plan& plan) {
  std::vector<Step> steps;
  for (const Unit& unit : plan.units) {
    const bool forward = unit.block >= 0 && unit.block <= plan.last_forward_block;
    const bool copied = std::all_of(unit.items.begin(), unit.items.end(), [&](size_t i) {
      return plan.items[i].outcome == Outcome::kDropped || plan.items[i].plain_copy();
    });
    if (copied && !forward) continue;
    steps.push_back({forward ? unit.block : -1, copied ? nullptr : &unit});
  }
  return steps;
}

// Whether a block may be encoded while the next is forwarded. Where blocks of memory are kept, what
// the forward had is counted all the same.
enum class Encoded { kAfterForward, kMeanwhile };

// One run, step by step; only its memory.
class Rehearsal {
 public:
  struct Rows {
    int64_t batch_rows, there;
    Encoded encoded = Encoded::kAfterForward;
  };
  Rehearsal(const PlanInput&, const Plan&, const Rows&, PoolModel&);
  void run();
  uint64_t activations() const { return forward_ ? forward_->activations() : 0; }

 private:
  // A step whose weights are on the device, and what its sites saw.
  struct Loaded {
    Step step;
    std::vector<PoolBlock> weights, samples, ranges;
    std::set<std::string> sources;
    std::set<ValueId> observed;
  };
  Loaded load(const Step&);
  void load(Loaded&, const std::string& source);
  void forward(Loaded&);
  void finish(Loaded&);
  void encode(const Item&, bool observed, std::vector<PoolBlock>& held);
  void measure_output(const Item&, int64_t rows, std::vector<PoolBlock>& held);
  void pass(std::initializer_list<int64_t> blocks);
  int64_t piece_rows(const Item&, DLDataType) const;

  const PlanInput& in_;
  const Plan& plan_;
  PoolModel& pool_;
  Encoded encoded_;
  int64_t passing_ = 0;  // that the last forward took and gave back
  int64_t tokens_ = 0;   // of a row
  std::optional<DeviceForward> forward_;
  bool multiplied_ = false;
};

Rehearsal::Rehearsal(const PlanInput& in, const Plan& plan, const Rows& rows, PoolModel& pool)
    : in_(in), plan_(plan), pool_(pool), encoded_(rows.encoded) {
  if (!plan.needs_data()) return;
  const Calibration& c = *in.recipe.calibration;
  tokens_ = c.seq_len.value;
  forward_.emplace(
      *in.graph, DeviceRows{c.samples.value, tokens_, rows.batch_rows, rows.there, in.activations},
      pool);
}

void Rehearsal::load(Loaded& loaded, const std::string& source) {
  if (!loaded.sources.insert(source).second) return;
  const StoredTensor& t = *in_.source.find(source);
  const int64_t n = elements(t.shape);
  loaded.weights.push_back(pool_.take(PoolQueue::kCopies, bytes_of(n, t.dtype)));
  if (loaded.step.block < 0 || same(t.dtype, in_.activations)) return;
  loaded.weights.push_back(pool_.take(PoolQueue::kCopies, bytes_of(n, in_.activations)));
}

Rehearsal::Loaded Rehearsal::load(const Step& step) {
  Loaded loaded;
  loaded.step = step;
  if (step.block >= 0) {
    for (const int p : in_.graph->blocks[static_cast<size_t>(step.block)].params)
      load(loaded, in_.graph->params[static_cast<size_t>(p)].name);
  }
  if (step.unit == nullptr) return loaded;
  for (const size_t i : step.unit->items) {
    if (plan_.items[i].worked_on()) load(loaded, plan_.items[i].source);
  }
  return loaded;
}

void Rehearsal::forward(Loaded& loaded) {
  passing_ = 0;
  if (loaded.step.block < 0) return;
  pool_.watch();
  std::vector<ValueId> observed;
  for (const Site& site : plan_.sites) {
    if (loaded.step.unit == nullptr || site.block != loaded.step.block ||
        !loaded.observed.insert(site.value).second)
      continue;
    observed.push_back(site.value);
    loaded.ranges.push_back(pool_.take(
        PoolQueue::kCompute, compute::kRangeParts * static_cast<int64_t>(sizeof(uint32_t))));
  }
  const bool last = loaded.step.block == plan_.last_forward_block;
  loaded.samples = forward_->run(
      observed, last ? DeviceForward::Results::kDrop : DeviceForward::Results::kPassOn);
  passing_ = pool_.most_live() - pool_.live();
}

// Taken and given back at once.
void Rehearsal::pass(std::initializer_list<int64_t> sizes) {
  std::vector<PoolBlock> taken;
  for (const int64_t bytes : sizes) {
    if (bytes > 0) taken.push_back(pool_.take(PoolQueue::kEncode, bytes));
  }
  for (const PoolBlock& block : taken)
    pool_.give(block);
}

// Rows of a weight that fill a piece, in whole tiles of its format.
int64_t Rehearsal::piece_rows(const Item& item, DLDataType dtype) const {
  const Format& format = *plan_.formats[static_cast<size_t>(item.weight)];
  const int64_t tile = std::max<int64_t>(1, format.weight->block_rows);
  const int64_t tile_bytes = std::max<int64_t>(1, bytes_of(tile * item.cols(), dtype));
  const int64_t rows = tile * std::max<int64_t>(1, static_cast<int64_t>(kPieceBytes) / tile_bytes);
  return std::min(rows, item.rows());
}

void Rehearsal::measure_output(const Item& item, int64_t rows, std::vector<PoolBlock>& held) {
  const DLDataType dtype = in_.activations;
  held.push_back(pool_.take(PoolQueue::kEncode, 2 * compute::kErrorParts * 8));
  const int64_t converted = same(item.dtype, dtype) ? 0 : 1;
  const int64_t input = item.input == kNoFormat ? 0 : bytes_of(rows * item.cols(), dtype);
  std::optional<PoolBlock> seen;
  if (input > 0) seen = pool_.take(PoolQueue::kEncode, input);
  if (!multiplied_ && pool_.rules().workspace > 0)
    pool_.take(PoolQueue::kEncode, pool_.rules().workspace);
  multiplied_ = true;
  const int64_t step = piece_rows(item, dtype), rest = item.rows() % step;
  for (const int64_t m : {step, rest}) {
    const int64_t weight = bytes_of(m * item.cols(), dtype), result = bytes_of(rows * m, dtype);
    pass({weight, converted * weight, result, result});
  }
  if (seen) pool_.give(*seen);
}

void Rehearsal::encode(const Item& item, bool observed, std::vector<PoolBlock>& held) {
  for (const DeclView part : item.parts) {
    if (!is_calibrated_scale(part.name))
      held.push_back(pool_.take(PoolQueue::kEncode, static_cast<int64_t>(part.bytes())));
  }
  held.push_back(pool_.take(PoolQueue::kEncode, 2 * compute::kErrorParts * 8));
  const int64_t step = piece_rows(item, kF32), rest = item.rows() % step;
  for (const int64_t m : {step, rest})
    pass({bytes_of(m * item.cols(), kF32)});
  if (observed) measure_output(item, std::min(kSampleTokens, tokens_), held);
}

void Rehearsal::finish(Loaded& loaded) {
  if (forward_) forward_->release(loaded.ranges);
  std::vector<PoolBlock> held;
  std::set<size_t> measured;
  for (const Site& site : plan_.sites) {
    if (site.block == loaded.step.block && site.operand == MOPT_OPERAND_INPUT)
      measured.insert(site.item);
  }
  if (loaded.step.unit != nullptr) {
    for (const size_t i : loaded.step.unit->items) {
      if (encoded_there(plan_, plan_.items[i], pool_.rules()))
        encode(plan_.items[i], measured.contains(i), held);
    }
  }
  for (const auto& blocks : {held, loaded.samples, loaded.weights}) {
    for (const PoolBlock& block : blocks)
      pool_.give(block);
  }
}

void Rehearsal::run() {
  const std::vector<Step> steps = steps_of(plan_);
  std::deque<Loaded> ahead;
  std::optional<Loaded> before;
  size_t next = 0;
  for (size_t i = 0; i < steps.size(); ++i) {
    for (; next < std::min(i + kStepsOnDevice, steps.size()); ++next)
      ahead.push_back(load(steps[next]));
    Loaded loaded = std::move(ahead.front());
    ahead.pop_front();
    forward(loaded);
    if (before) {
      std::optional<PoolBlock> meanwhile;
      if (encoded_ == Encoded::kMeanwhile && passing_ > 0)
        meanwhile = pool_.take(PoolQueue::kCompute, passing_);
      finish(*before);
      if (meanwhile) pool_.give(*meanwhile);
    }
    before = std::move(loaded);
  }
  if (before) finish(*before);
}

// Pinned copies of what a unit makes, or of what is encoded on the CPU after all.
uint64_t pinned_parts(const Plan& plan, const Unit& unit, const compute::MemoryRules& rules) {
  uint64_t bytes = 0;
  for (const size_t i : unit.items) {
    const Item& item = plan.items[i];
    if (item.outcome == Outcome::kDropped || item.plain_copy()) continue;
    if (!encoded_there(plan, item, rules)) bytes += item.bytes();
    for (const DeclView part : item.parts)
      bytes += item.outcome == Outcome::kQuantized ? part.bytes() : 0;
  }
  return bytes;
}

// The ring; what a unit makes beside the one before on its way to the disk.
uint64_t block_in_process(const Plan& plan, const compute::MemoryRules& rules) {
  uint64_t pinned = 0, before = 0;
  for (const Unit& unit : plan.units) {
    const uint64_t made = pinned_parts(plan, unit, rules);
    pinned = std::max(pinned, made + std::min(before, kInFlightBytes));
    before = made;
  }
  return kRingSlots * kSlotBytes + pinned;
}

// What the process is, with the rows' ids, whatever the blocks are.
uint64_t base_in_process(const PlanInput& in, const Plan& plan, const compute::MemoryRules& rules) {
  uint64_t ids = 0;
  if (plan.needs_data()) {
    const Calibration& c = *in.recipe.calibration;
    ids = static_cast<uint64_t>(c.samples.value * c.seq_len.value) * sizeof(int64_t);
    ids = ids / 2 + 2 * std::min(ids, kUploadBytes);
  }
  return in.resident_bytes + static_cast<uint64_t>(rules.host) + ids + fixed_memory(in, plan);
}

// The model in the type that it computes in, keys and values, and one step of the rows.
uint64_t own_text_on_device(const PlanInput& in, const compute::MemoryRules& rules, int64_t rows) {
  const graph::Model& model = *in.graph;
  PoolModel pool(rules);
  for (const graph::Param& param : model.params)
    pool.take(PoolQueue::kCopies, bytes_of(elements(param.dims), in.activations));
  const auto tokens = static_cast<uint64_t>(in.recipe.calibration->seq_len.value);
  const uint64_t caches =
      static_cast<uint64_t>(rows) * tokens * cache_bytes_per_token(model, in.activations);
  DeviceForward step(model, {rows, 1, rows, 1, in.activations}, pool);
  for (size_t b = 0; b < model.blocks.size(); ++b)
    step.run({}, DeviceForward::Results::kPassOn);
  return static_cast<uint64_t>(pool.peak()) + caches;
}

void add_own_text(const PlanInput& in, const Plan& plan, DeviceCost& cost,
                  const compute::MemoryRules& rules) {
  cost.own_text = own_text_on_device(in, rules, 1);
  cost.own_text_of_all = own_text_on_device(in, rules, in.recipe.calibration->samples.value);
  uint64_t largest = 0;  // parameter: it passes through the process, from its file
  for (const graph::Param& param : in.graph->params)
    largest =
        std::max(largest, static_cast<uint64_t>(bytes_of(elements(param.dims), in.activations)));
  cost.host = std::max(cost.host, base_in_process(in, plan, rules) + largest + 2 * kUploadBytes);
}

struct Rehearsed {
  uint64_t peak, activations;
};

Rehearsed rehearse(const PlanInput& in, const Plan& plan, const Rehearsal::Rows& rows,
                   PoolModel pool) {
  Rehearsal rehearsal(in, plan, rows, pool);
  rehearsal.run();
  return {static_cast<uint64_t>(pool.peak()), rehearsal.activations()};
}

// Nothing is kept that the limit needs, but a block that is used again may be larger than what it
// is used for: the limit grows until the run fits.
uint64_t smallest(const PlanInput& in, const Plan& plan, const compute::MemoryRules& rules) {
  constexpr int kAttempts = 16;
  compute::MemoryRules nothing_kept = rules;
  nothing_kept.huge = 0;
  const Rehearsal::Rows rows{1, kBatchesThere, Encoded::kMeanwhile};
  auto limit = static_cast<int64_t>(rehearse(in, plan, rows, PoolModel(nothing_kept)).peak);
  for (int i = 0; i < kAttempts; ++i) {
    const auto peak = static_cast<int64_t>(rehearse(in, plan, rows, PoolModel(rules, limit)).peak);
    if (peak <= limit) break;
    limit = peak;
  }
  return static_cast<uint64_t>(limit);
}

}  // namespace

DeviceCost estimate_on_device(const PlanInput& in, const Plan& plan,
                              const DeviceCostRequest& request) {
  int64_t rows = 1, samples = 1;
  if (plan.needs_data()) {
    const Calibration& c = *in.recipe.calibration;
    samples = c.samples.value;
    rows = std::max<int64_t>(1, request.batch_tokens / std::max<int64_t>(1, c.seq_len.value));
  }
  const Rehearsed all = rehearse(in, plan, {rows, samples}, PoolModel(request.rules));
  DeviceCost cost;
  cost.block = block_in_process(plan, request.rules);
  cost.host = base_in_process(in, plan, request.rules) + cost.block;
  cost.peak = all.peak;
  cost.activations = all.activations;
  const Rehearsed few = rehearse(in, plan, {rows, kBatchesThere}, PoolModel(request.rules));
  cost.without = few.peak;
  cost.passing = few.activations;
  cost.smallest = std::min(cost.without, smallest(in, plan, request.rules));
  if (plan.needs_data() && writes_own_text(in.recipe)) add_own_text(in, plan, cost, request.rules);
  return cost;
}

}  // namespace mopt::plan
