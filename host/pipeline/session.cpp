#include "host/pipeline/session.hpp"

#include <algorithm>
#include <cstring>

#include "host/compute/cast/cast.hpp"
#include "host/plan/forward_cost.hpp"

namespace mopt::pipeline {

using compute::View;
using graph::ValueId;

namespace {

// Steps that run kernel by kernel before one is recorded: they choose algorithms, make tables and
// load kernels, none of which can be recorded.
constexpr int64_t kWarmSteps = 1;
// Of a device's room, what rows may fill; the rest is for kernels' own memory.
constexpr double kShare = 0.9;

View last_token(const View& all) {
  View part = all;
  const int64_t row_bytes = all.bytes() / all.shape[0], token_bytes = row_bytes / all.shape[1];
  part.data = static_cast<std::byte*>(all.data) + row_bytes - token_bytes;
  part.shape[0] = part.shape[1] = 1;
  return part;
}

}  // namespace

Session::Session(const Checkpoint& checkpoint, const ForwardOptions& options, Steps steps)
    : graph_(checkpoint.required_graph()),
      on_(options.on_device),
      dtype_(options.dtype),
      steps_(steps),
      params_(checkpoint, options),
      pool_(std::make_shared<BufferPool>()) {
  for (size_t b = 0; b < graph_.blocks.size(); ++b)
    blocks_.emplace_back(checkpoint, b, params_.options());
  repeatable_ = std::all_of(blocks_.begin(), blocks_.end(),
                            [](const BlockProgram& block) { return block.repeatable(); });
  vocabulary_ = graph_.values[graph_.outputs.find("logits")->second].dims.back();
}

void Session::begin(size_t rows, int64_t capacity) {
  recorded_.reset();
  caches_.clear();
  caches_on_device_.clear();
  logits_ = {};
  step_ = {};
  rows_ = static_cast<int64_t>(rows);
  capacity_ = capacity;
  length_ = stepped_ = 0;
  for (const BlockProgram& block : blocks_) {
    if (on_ != nullptr) {
      caches_on_device_.push_back({capacity, 0, {}});
      caches_on_device_.back().ops.resize(block.attention_ops());
    } else {
      KvCache empty;
      empty.capacity = capacity;
      caches_.emplace_back(block.attention_ops(), std::vector<KvCache>(rows, empty));
    }
  }
  if (on_ == nullptr) return;
  step_ = make_ids(rows_);
  logits_.view = compute::view_of(nullptr, dtype_, {rows_, 1, vocabulary_});
  logits_.buffer = on_->device().take_pinned(logits_.view.bytes());
  logits_.view.data = logits_.buffer.get();
}

Session::Ids Session::make_ids(int64_t tokens) const {
  const int64_t bytes = 2 * tokens * static_cast<int64_t>(sizeof(int64_t));
  return {on_->device().take_pinned(bytes), on_->queue().take(bytes)};
}

void Session::fill(const TokenRows& tokens, int64_t* ids) const {
  const auto time = static_cast<int64_t>(tokens[0].size());
  int64_t* positions = ids + rows_ * time;
  for (const auto& row : tokens) {
    ids = std::copy(row.begin(), row.end(), ids);
    for (int64_t t = 0; t < time; ++t)
      *positions++ = length_ + t;
  }
}

LiveValue Session::run_blocks(const View& ids, const View& positions) {
  const int64_t time = ids.shape[1];
  LiveValues live;
  for (size_t b = 0; b < blocks_.size(); ++b) {
    Call call;
    call.pool = pool_;
    call.ids = ids;
    call.positions = positions;
    // One table of angles serves all steps, where they do not depend on the length.
    call.length = repeatable_ ? capacity_ : length_ + time;
    call.inputs = live;
    if (b + 1 == blocks_.size() && blocks_[b].token_wise() && rows_ == 1 && time > 1) {
      for (auto& [v, value] : call.inputs)
        value.view = last_token(value.view);
      call.ids.shape[1] = call.positions.shape[1] = 1;
    }
    if (on_ != nullptr) {
      caches_on_device_[b].length = length_;
      call.caches_on_device = &caches_on_device_[b];
    } else {
      call.caches = &caches_[b];
    }
    for (auto& [v, value] : blocks_[b].run(call))
      live[v] = std::move(value);
  }
  return live.at(graph_.outputs.find("logits")->second);
}

void Session::append(const TokenRows& tokens) {
  const auto time = static_cast<int64_t>(tokens[0].size());
  if (length_ + time > capacity_) {
    throw Error(MOPT_INTERNAL, "a session has room for " + std::to_string(capacity_) +
                                   " tokens, found " + std::to_string(length_ + time));
  }
  if (on_ != nullptr) {
    append_on_device(tokens);
  } else {
    logits_ = {};
    std::vector<int64_t> ids(static_cast<size_t>(2 * rows_ * time));
    fill(tokens, ids.data());
    logits_ = run_blocks(compute::view_of(ids.data(), kI64, {rows_, time}),
                         compute::view_of(ids.data() + rows_ * time, kI64, {rows_, time}));
  }
  length_ += time;
}

// A step is repeated with other bytes in the same pinned memory.
void Session::append_on_device(const TokenRows& tokens) {
  const auto time = static_cast<int64_t>(tokens[0].size());
  const Ids ids = time == 1 ? step_ : make_ids(rows_ * time);
  fill(tokens, reinterpret_cast<int64_t*>(ids.pinned.get()));
  const bool record = time == 1 && steps_ == Steps::kRecorded && repeatable_;
  if (record && !recorded_ && stepped_ >= kWarmSteps)
    recorded_ = on_->queue().capture([&] { run_on_device(ids, 1); });
  if (record && recorded_) {
    recorded_->launch();
    ++repeated_;
  } else {
    run_on_device(ids, time);
  }
  on_->queue().finish();
  if (time == 1) ++stepped_;
}

void Session::run_on_device(const Ids& ids, int64_t time) {
  compute::Queue& queue = on_->queue();
  const int64_t tokens = rows_ * time;
  queue.copy(ids.memory.get(), ids.pinned.get(),
             2 * tokens * static_cast<int64_t>(sizeof(int64_t)));
  const auto* at = reinterpret_cast<const int64_t*>(ids.memory.get());
  const LiveValue logits = run_blocks(compute::view_of(at, kI64, {rows_, time}),
                                      compute::view_of(at + tokens, kI64, {rows_, time}));
  const int64_t per_row = logits.view.shape[1], bytes = logits.view.bytes() / (rows_ * per_row);
  const auto* from = static_cast<const std::byte*>(logits.view.data) + (per_row - 1) * bytes;
  if (per_row == 1) return queue.copy(logits_.view.data, from, rows_ * bytes);
  for (int64_t r = 0; r < rows_; ++r)
    queue.copy(logits_.view.as<std::byte>() + r * bytes, from + r * per_row * bytes, bytes);
}

std::vector<float> Session::logits(size_t row) const {
  const View& all = logits_.view;
  const int64_t token = (static_cast<int64_t>(row) + 1) * all.shape[1] - 1;
  const View last = compute::view_of(all.as<std::byte>() + token * (all.bytes() / all.rows()),
                                     all.dtype, {vocabulary_});
  std::vector<float> out(static_cast<size_t>(vocabulary_));
  if (compute::is_f32(last)) {
    std::memcpy(out.data(), last.data, static_cast<size_t>(last.bytes()));
  } else {
    compute::cast(last, compute::view_of(out.data(), kF32, {vocabulary_}));
  }
  return out;
}

int64_t Session::rows_that_fit(int64_t rows, int64_t capacity) const {
  if (on_ == nullptr) return rows;
  const View logits = compute::view_of(nullptr, dtype_, {2, vocabulary_});
  const auto caches = static_cast<int64_t>(plan::cache_bytes_per_token(graph_, dtype_)) * capacity;
  on_->device().trim();
  const double room = kShare * static_cast<double>(on_->device().memory().room);
  const auto fit = static_cast<int64_t>(room / static_cast<double>(caches + logits.bytes()));
  return std::clamp<int64_t>(fit, 1, rows);
}

}  // namespace mopt::pipeline
