#include "host/plan/device_forward.hpp"

#include <algorithm>

#include "host/plan/cost.hpp"
#include "host/plan/device_cost.hpp"

namespace mopt::plan {

using graph::Block;
using graph::Model;
using graph::Op;
using graph::OpKind;
using graph::ValueId;

namespace {

bool contains(const std::vector<ValueId>& values, ValueId v) {
  return std::find(values.begin(), values.end(), v) != values.end();
}

}  // namespace

DeviceForward::DeviceForward(const Model& model, const DeviceRows& shape, PoolModel& pool)
    : model_(model), shape_(shape), pool_(pool) {
  const int64_t batches = (shape.rows + shape.batch_rows - 1) / shape.batch_rows;
  live_.resize(static_cast<size_t>(std::min(batches, shape.there)));
  const int64_t ids = shape.rows * shape.tokens * static_cast<int64_t>(sizeof(int64_t));
  pool_.take(PoolQueue::kCompute, ids);
  pool_.take(PoolQueue::kCompute, ids);  // positions
}

int64_t DeviceForward::rows_of(size_t batch) const {
  return std::min(shape_.batch_rows, shape_.rows - static_cast<int64_t>(batch) * shape_.batch_rows);
}

int64_t DeviceForward::bytes_of(ValueId v, int64_t rows) const {
  int64_t elements = 1;
  for (const int64_t d : model_.values[v].dims)
    elements *= d == MOPT_DIM_BATCH ? rows : d == MOPT_DIM_TIME ? shape_.tokens : d;
  return static_cast<int64_t>(mopt_nbytes(static_cast<uint64_t>(elements), shape_.dtype));
}

// The ops that lead to what is wanted or observed, each with the values that none after it takes.
std::vector<DeviceForward::Step> DeviceForward::steps_of(
    const Block& block, const std::set<ValueId>& wanted,
    const std::vector<ValueId>& observed) const {
  std::set<ValueId> needed = wanted, used = wanted;
  needed.insert(observed.begin(), observed.end());
  std::vector<Step> steps;
  for (size_t i = block.end_op; i-- > block.first_op;) {
    const Op& op = model_.ops[i];
    if (!needed.contains(op.out)) continue;
    Step step{&op, {}};
    for (const ValueId v : op.in) {
      needed.insert(v);
      if (used.insert(v).second) step.last_used.push_back(v);
    }
    steps.push_back(std::move(step));
  }
  std::reverse(steps.begin(), steps.end());
  return steps;
}

// Only where nobody else has the memory and it is exactly as large.
std::optional<size_t> DeviceForward::written_over(const Batch& batch, const Step& step,
                                                  int64_t bytes) const {
  if (!graph::may_write_over(step.op->kind)) return std::nullopt;
  for (const ValueId v : step.op->in) {
    const auto found = batch.buffer_of.find(v);
    if (found == batch.buffer_of.end() || !contains(step.last_used, v)) continue;
    const Buffer& buffer = batch.buffers[found->second];
    if (buffer.reusable && buffer.users == 1 && buffer.bytes == bytes) return found->second;
  }
  return std::nullopt;
}

// Cosines and sines in f32 of one kind of rotation, made at its first use.
void DeviceForward::take_tables(const Op& op) {
  if (!turned_.insert(&op).second) return;
  const int64_t rotary = op.integer("rotary_dim");
  const int64_t half = (rotary > 0 ? rotary : model_.values[op.in[0]].dims.back()) / 2;
  const auto known = std::pair(op.attributes, half);
  if (std::find(tables_.begin(), tables_.end(), known) != tables_.end()) return;
  tables_.push_back(known);
  const bool dynamic = op.text("scaling") == "dynamic";
  const int64_t positions =
      dynamic ? shape_.tokens
              : (shape_.tokens + kAnglePositions - 1) / kAnglePositions * kAnglePositions;
  pool_.take(PoolQueue::kCompute, 2 * positions * half * static_cast<int64_t>(sizeof(float)));
}

void DeviceForward::drop(Batch& batch, ValueId v) {
  const auto found = batch.buffer_of.find(v);
  if (found == batch.buffer_of.end()) return;
  Buffer& buffer = batch.buffers[found->second];
  batch.buffer_of.erase(found);
  if (--buffer.users == 0) pool_.give(buffer.block);
}

void DeviceForward::run_step(Batch& batch, const Step& step) {
  const Op& op = *step.op;
  if (op.kind == OpKind::kReshape) {
    if (const auto from = batch.buffer_of.find(op.in[0]); from != batch.buffer_of.end()) {
      ++batch.buffers[from->second].users;
      batch.buffer_of[op.out] = from->second;
    }
    return;
  }
  const int64_t bytes = bytes_of(op.out, batch.rows);
  if (const auto over = written_over(batch, step, bytes)) {
    ++batch.buffers[*over].users;
    batch.buffer_of[op.out] = *over;
  } else {
    batch.buffer_of[op.out] = batch.buffers.size();
    batch.buffers.push_back({pool_.take(PoolQueue::kCompute, bytes), bytes, 1, true});
  }
  if (op.kind == OpKind::kRope) take_tables(op);
  if (op.kind != OpKind::kLinear || multiplied_ || pool_.rules().workspace == 0) return;
  multiplied_ = true;
  pool_.take(PoolQueue::kCompute, pool_.rules().workspace);
}

// The first tokens of row 0.
void DeviceForward::keep_sample(ValueId v, std::vector<PoolBlock>& samples) {
  const int64_t bytes = bytes_of(v, 1), columns = model_.values[v].dims.back();
  const auto vector =
      static_cast<int64_t>(mopt_nbytes(static_cast<uint64_t>(columns), shape_.dtype));
  samples.push_back(pool_.take(PoolQueue::kCompute, std::min(kSampleTokens * vector, bytes)));
}

void DeviceForward::run_inside(size_t index, const std::vector<Step>& steps,
                               const std::set<ValueId>& wanted,
                               const std::vector<ValueId>& observed,
                               std::vector<PoolBlock>& samples) {
  Batch batch{rows_of(index), {}, {}};
  Live& live = live_[index];
  for (const auto& [v, block] : live) {
    batch.buffer_of[v] = batch.buffers.size();
    batch.buffers.push_back({block, 0, 2, false});  // the second user is the batch
  }
  const auto publish = [&](ValueId v) {
    if (index == 0 && contains(observed, v)) keep_sample(v, samples);
  };
  for (const auto& [v, block] : live)
    publish(v);
  for (const Step& step : steps) {
    run_step(batch, step);
    publish(step.op->out);
    for (const ValueId v : step.last_used)
      drop(batch, v);
  }
  Live next;
  for (const ValueId v : needed_) {
    const auto made = batch.buffer_of.find(v);
    if (const auto old = live.find(v); old != live.end()) {
      next.insert(live.extract(old));
    } else if (wanted.contains(v) && made != batch.buffer_of.end()) {
      next[v] = batch.buffers[made->second].block;
      batch.buffer_of.erase(made);
    }
  }
  while (!batch.buffer_of.empty())
    drop(batch, batch.buffer_of.begin()->first);
  for (const auto& [v, block] : live)
    pool_.give(block);
  live = std::move(next);
}

// A batch like the first: only what it keeps makes a difference.
void DeviceForward::pass_over(size_t index, const std::set<ValueId>& wanted) {
  Live& live = live_[index];
  Live next;
  for (const ValueId v : needed_) {
    if (const auto old = live.find(v); old != live.end()) {
      next.insert(live.extract(old));
    } else if (wanted.contains(v)) {
      next[v] = pool_.take(PoolQueue::kCompute, bytes_of(v, rows_of(index)));
    }
  }
  for (const auto& [v, block] : live)
    pool_.give(block);
  live = std::move(next);
}

std::vector<PoolBlock> DeviceForward::run(const std::vector<ValueId>& observed, Results results) {
  const Block& block = model_.blocks[next_block_];
  std::set<ValueId> wanted;
  if (results == Results::kPassOn) wanted.insert(block.live_out.begin(), block.live_out.end());
  needed_ = graph::needed_from(model_, next_block_ + 1);
  const std::vector<Step> steps = steps_of(block, wanted, observed);
  std::vector<PoolBlock> samples;
  for (size_t i = 0; i < live_.size(); ++i) {
    if (i == 0 || i + 1 == live_.size())
      run_inside(i, steps, wanted, observed, samples);
    else
      pass_over(i, wanted);
  }
  ++next_block_;
  uint64_t held = 0;
  for (const Live& live : live_) {
    for (const auto& [v, kept] : live)
      held += static_cast<uint64_t>(kept.bytes);
  }
  activations_ = std::max(activations_, held);
  return samples;
}

void DeviceForward::release(const std::vector<PoolBlock>& samples) {
  for (const PoolBlock& block : samples)
    pool_.give(block);
}

}  // namespace mopt::plan
