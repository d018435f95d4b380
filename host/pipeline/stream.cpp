#include "host/pipeline/stream.hpp"

#include <cstring>
#include <fstream>
#include <map>
#include <numeric>

#include "host/compute/parallel.hpp"
#include "host/report/hash.hpp"

namespace mopt::pipeline {

using compute::View;
using graph::ValueId;

namespace {

// Tokens [first, first + count) of a value of one row, or all tokens of `rows`, of which `first` is
// the first of one: what is contiguous in memory.
View slice_tokens(const View& all, int64_t first, int64_t count) {
  View part = all;
  const int64_t token_bytes = all.bytes() / (all.shape[0] * all.shape[1]);
  part.data = static_cast<std::byte*>(all.data) + first * token_bytes;
  part.shape[1] = count;
  return part;
}

// Then, as little-endian numbers of 64 bits: the next block, the rows, and before each value its
// bytes; at the end the digest of the rows' ids and of all of it.
constexpr char kMagic[8] = {'m', 'o', 'p', 't', 'a', 'c', 't', '2'};

Xxh128 hash_of(const TokenRows& rows) {
  Xxh128 hash;
  for (const std::vector<int32_t>& row : rows) {
    const uint64_t length = row.size();
    hash.update(std::as_bytes(std::span(&length, 1)));
    hash.update(std::as_bytes(std::span(row)));
  }
  return hash;
}

}  // namespace

RowStream::RowStream(const graph::Model& graph, TokenRows rows, StreamOptions options)
    : graph_(graph),
      rows_(std::move(rows)),
      options_(options),
      pool_(std::make_shared<BufferPool>()) {
  make_batches(options_.on_device == nullptr ? 1 : options_.batch_tokens);
  rest_ = std::make_unique<Activations>(options_.on_device, options_.resting, bytes_at_rest());
  if (options_.on_device != nullptr) upload_ids();
}

// Neighbours of one length.
void RowStream::make_batches(int64_t batch_tokens) {
  for (size_t row = 0; row < rows_.size(); ++row) {
    const auto length = static_cast<int64_t>(rows_[row].size());
    if (!batches_.empty() && batches_.back().length == length &&
        (static_cast<int64_t>(batches_.back().count) + 1) * length <= batch_tokens) {
      ++batches_.back().count;
    } else {
      batches_.push_back({row, 1, length});
    }
  }
}

void RowStream::upload_ids() {
  std::vector<int64_t> ids, positions;
  for (const auto& row : rows_) {
    first_token_.push_back(static_cast<int64_t>(ids.size()));
    ids.insert(ids.end(), row.begin(), row.end());
    for (size_t t = 0; t < row.size(); ++t)
      positions.push_back(static_cast<int64_t>(t));
  }
  const auto bytes = static_cast<int64_t>(ids.size() * sizeof(int64_t));
  ids_ = options_.on_device->upload(ids.data(), bytes);
  positions_ = options_.on_device->upload(positions.data(), bytes);
}

int64_t RowStream::tokens() const {
  return std::accumulate(rows_.begin(), rows_.end(), int64_t{0}, [](int64_t n, const auto& row) {
    return n + static_cast<int64_t>(row.size());
  });
}

// Of each batch the most that it holds before any block.
std::vector<uint64_t> RowStream::bytes_at_rest() const {
  std::vector<uint64_t> most(batches_.size());
  if (options_.on_device == nullptr) return most;
  for (size_t block = 1; block < graph_.blocks.size(); ++block) {
    const std::vector<ValueId> values = graph::needed_from(graph_, block);
    std::map<std::pair<size_t, int64_t>, uint64_t> known;  // by rows and their length
    for (size_t b = 0; b < batches_.size(); ++b) {
      const auto [entry, fresh] = known.try_emplace({batches_[b].count, batches_[b].length}, 0);
      for (size_t i = 0; fresh && i < values.size(); ++i) {
        const View view = shape_of(batches_[b], values[i]);
        entry->second += Activations::at_rest(static_cast<uint64_t>(view.bytes()));
      }
      most[b] = std::max(most[b], entry->second);
    }
  }
  return most;
}

// Tokens [first, first + count) of each row; of several rows only all tokens lie together.
Call RowStream::call_for(const RowBatch& rows, int64_t first, int64_t count,
                         std::vector<int64_t>& storage) const {
  Call call;
  call.pool = pool_;
  call.length = first + count;
  const auto n = static_cast<int64_t>(rows.count);
  if (options_.on_device != nullptr) {
    const int64_t at = first_token_[rows.first] + first;
    call.ids = compute::view_of(reinterpret_cast<int64_t*>(ids_.get()) + at, kI64, {n, count});
    call.positions =
        compute::view_of(reinterpret_cast<int64_t*>(positions_.get()) + at, kI64, {n, count});
    return call;
  }
  storage.resize(static_cast<size_t>(2 * n * count));
  int64_t* ids = storage.data();
  int64_t* positions = ids + n * count;
  for (int64_t i = 0; i < n * count; ++i) {
    const auto row = rows.first + static_cast<size_t>(i / count);
    positions[i] = first + i % count;
    ids[i] = rows_[row][static_cast<size_t>(positions[i])];
  }
  call.ids = compute::view_of(ids, kI64, {n, count});
  call.positions = compute::view_of(positions, kI64, {n, count});
  return call;
}

// On the CPU spread over its threads, on a device one after the other into its queue.
void RowStream::for_each_batch(const std::function<void(size_t)>& fn) const {
  if (options_.on_device != nullptr) {
    for (size_t i = 0; i < batches_.size(); ++i)
      fn(i);
    return;
  }
  compute::for_each(static_cast<int64_t>(batches_.size()), 1,
                    [&](int64_t index, int64_t) { fn(static_cast<size_t>(index)); });
}

void RowStream::run_batch(size_t index, const BlockProgram& program, const Observe& observe,
                          const std::vector<ValueId>& keep) {
  const RowBatch& rows = batches_[index];
  std::vector<int64_t> storage;
  Call call = call_for(rows, 0, rows.length, storage);
  call.inputs = rest_->take(index);
  if (observe) {
    call.observe = [&](ValueId v, const View& view) { observe(rows, v, view); };
  }
  LiveValues out = program.run(call);
  LiveValues next;
  for (const ValueId v : keep) {
    if (const auto fresh = out.find(v); fresh != out.end()) {
      next[v] = std::move(fresh->second);
    } else if (const auto old = call.inputs.find(v); old != call.inputs.end()) {
      next[v] = old->second;
    }
  }
  rest_->put(index, std::move(next));
}

void RowStream::run(const BlockProgram& program, const Observe& observe) {
  const std::vector<ValueId> keep = graph::needed_from(graph_, next_block_ + 1);
  rest_->begin();
  for_each_batch([&](size_t index) { run_batch(index, program, observe, keep); });
  ++next_block_;
}

LiveValues RowStream::head_piece(const BlockProgram& program, const RowBatch& rows, int64_t first,
                                 int64_t count) const {
  const auto batch = std::find_if(batches_.begin(), batches_.end(), [&](const RowBatch& b) {
    return rows.first >= b.first && rows.first < b.first + b.count;
  });
  std::vector<int64_t> storage;
  Call call = call_for(rows, first, count, storage);
  const auto skipped = static_cast<int64_t>(rows.first - batch->first) * rows.length;
  for (const auto& [v, value] : rest_->take(static_cast<size_t>(batch - batches_.begin()))) {
    View part = slice_tokens(value.view, skipped + first, count);
    part.shape[0] = static_cast<int64_t>(rows.count);
    call.inputs[v] = {value.buffer, part};
  }
  return program.run(call);
}

void RowStream::run_head(const BlockProgram& program, const TakeLogits& fn) const {
  const ValueId logits = graph_.outputs.find("logits")->second;
  const int64_t limit = options_.on_device == nullptr ? kHeadTokens : kHeadTokensOnDevice;
  rest_->begin();
  for_each_batch([&](size_t index) {
    const RowBatch& all = batches_[index];
    const auto together = static_cast<size_t>(std::max<int64_t>(1, limit / all.length));
    for (size_t row = 0; row < all.count; row += together) {
      const RowBatch rows{all.first + row, std::min(together, all.count - row), all.length};
      const int64_t piece = program.token_wise() && rows.count == 1 ? limit : rows.length;
      for (int64_t first = 0; first < rows.length; first += piece) {
        const int64_t count = std::min(piece, rows.length - first);
        const LiveValues out = head_piece(program, rows, first, count);
        fn(rows, first, out.at(logits).view);
      }
    }
  });
}

void RowStream::save(const std::filesystem::path& path) const {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  Xxh128 hash = hash_of(rows_);
  const auto put = [&](const void* data, size_t bytes) {
    out.write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
    hash.update({static_cast<const std::byte*>(data), bytes});
  };
  const auto number = [&](uint64_t n) { put(&n, sizeof(n)); };
  put(kMagic, sizeof(kMagic));
  number(next_block_);
  number(rows_.size());
  for (size_t b = 0; b < batches_.size(); ++b) {
    const LiveValues values = rest_->read(b);
    for (size_t row = 0; row < batches_[b].count; ++row) {
      for (const auto& [v, value] : values) {
        const auto bytes = static_cast<size_t>(value.view.bytes()) / batches_[b].count;
        number(bytes);
        put(static_cast<const std::byte*>(value.view.data) + row * bytes, bytes);
      }
    }
  }
  out << hash.hex();
  out.close();
  if (!out)
    throw Error(MOPT_IO, "the activations could not be written; is the disk full?", path.string());
}

View RowStream::shape_of(const RowBatch& batch, ValueId v) const {
  std::vector<int64_t> extents;
  for (const int64_t d : graph_.values[v].dims) {
    extents.push_back(d == MOPT_DIM_BATCH  ? static_cast<int64_t>(batch.count)
                      : d == MOPT_DIM_TIME ? batch.length
                                           : d);
  }
  return compute::view_of(nullptr, options_.dtype, extents);
}

LiveValue RowStream::empty_on_cpu(const RowBatch& batch, ValueId v) const {
  LiveValue value{nullptr, shape_of(batch, v)};
  value.buffer = options_.on_device == nullptr
                     ? pool_->take(static_cast<size_t>(value.view.bytes()))
                     : options_.on_device->device().take_pinned(value.view.bytes());
  value.view.data = value.buffer.get();
  return value;
}

// Reads a file of save from its start: its block, then `take` for each row and value in their
// order.
size_t RowStream::read_saved(const std::filesystem::path& path, const TakeSaved& take) const {
  std::ifstream in(path, std::ios::binary);
  Xxh128 hash = hash_of(rows_);
  const auto damaged = [&] {
    return Error(MOPT_DATA_LOSS, "the saved activations are damaged or belong to other data",
                 path.string());
  };
  const auto get = [&](void* data, size_t bytes) {
    in.read(static_cast<char*>(data), static_cast<std::streamsize>(bytes));
    if (!in) throw damaged();
    hash.update({static_cast<const std::byte*>(data), bytes});
  };
  const auto number = [&] {
    uint64_t n = 0;
    get(&n, sizeof(n));
    return n;
  };
  char magic[sizeof(kMagic)] = {};
  get(magic, sizeof(magic));
  const uint64_t block = number(), rows = number();
  if (std::memcmp(magic, kMagic, sizeof(magic)) != 0 || rows != rows_.size() ||
      block > graph_.blocks.size()) {
    throw damaged();
  }
  const std::vector<ValueId> kept = graph::needed_from(graph_, block);
  for (size_t b = 0; b < batches_.size(); ++b) {
    LiveValues values;
    for (const ValueId v : kept)
      values[v] = empty_on_cpu(batches_[b], v);
    for (size_t row = 0; row < batches_[b].count; ++row) {
      for (const auto& [v, value] : values) {
        const auto bytes = static_cast<size_t>(value.view.bytes()) / batches_[b].count;
        if (number() != bytes) throw damaged();
        get(static_cast<std::byte*>(value.view.data) + row * bytes, bytes);
      }
    }
    take(b, values);
  }
  const std::string end{std::istreambuf_iterator<char>(in), {}};
  if (end != hash.hex()) throw damaged();
  return block;
}

// Twice: nothing changes before the whole file is known to be good.
void RowStream::load(const std::filesystem::path& path) {
  read_saved(path, [](size_t, const LiveValues&) {});
  next_block_ = read_saved(
      path, [&](size_t batch, const LiveValues& values) { rest_->write(batch, values); });
}

}  // namespace mopt::pipeline
