#include "host/pipeline/stream.hpp"

#include <cstring>
#include <fstream>
#include <numeric>

#include "host/compute/parallel.hpp"
#include "host/report/hash.hpp"

namespace mopt::pipeline {

using compute::View;
using graph::ValueId;

namespace {

// Values that blocks from `block` on take from earlier ones.
std::vector<ValueId> needed_from(const graph::Model& model, size_t block) {
  std::vector<ValueId> needed;
  for (size_t b = block; b < model.blocks.size(); ++b) {
    for (const ValueId v : model.blocks[b].live_in) {
      const int producer = model.values[v].producer;
      if (static_cast<size_t>(model.ops[static_cast<size_t>(producer)].block) >= block) continue;
      if (std::find(needed.begin(), needed.end(), v) == needed.end()) needed.push_back(v);
    }
  }
  return needed;
}

// Tokens [first, first + count) of a value of one row: its first axis is the batch of 1.
View slice_tokens(const View& all, int64_t first, int64_t count) {
  View part = all;
  const int64_t token_bytes = all.bytes() / all.shape[1];
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

RowStream::RowStream(const graph::Model& graph, TokenRows rows, DLDataType dtype)
    : graph_(graph),
      rows_(std::move(rows)),
      dtype_(dtype),
      pool_(std::make_shared<BufferPool>()),
      live_(rows_.size()) {}

int64_t RowStream::tokens() const {
  return std::accumulate(rows_.begin(), rows_.end(), int64_t{0}, [](int64_t n, const auto& row) {
    return n + static_cast<int64_t>(row.size());
  });
}

uint64_t RowStream::bytes() const {
  uint64_t bytes = 0;
  for (const LiveValues& row : live_) {
    for (const auto& [v, value] : row)
      bytes += static_cast<uint64_t>(value.view.bytes());
  }
  return bytes;
}

Call RowStream::call_for(size_t row, int64_t first, int64_t count,
                         std::vector<int64_t>& storage) const {
  storage.resize(static_cast<size_t>(2 * count));
  for (int64_t i = 0; i < count; ++i) {
    storage[static_cast<size_t>(i)] = rows_[row][static_cast<size_t>(first + i)];
    storage[static_cast<size_t>(count + i)] = first + i;
  }
  Call call;
  call.ids = compute::view_of(storage.data(), kI64, {1, count});
  call.positions = compute::view_of(storage.data() + count, kI64, {1, count});
  call.pool = pool_;
  return call;
}

void RowStream::run(const BlockProgram& program, const Observe& observe) {
  const std::vector<ValueId> keep = needed_from(graph_, next_block_ + 1);
  compute::for_each(static_cast<int64_t>(rows_.size()), 1, [&](int64_t index, int64_t) {
    const auto row = static_cast<size_t>(index);
    std::vector<int64_t> storage;
    Call call = call_for(row, 0, static_cast<int64_t>(rows_[row].size()), storage);
    call.inputs = live_[row];
    if (observe) {
      call.observe = [&](ValueId v, const View& view) { observe(row, v, view); };
    }
    LiveValues out = program.run(call);
    LiveValues next;
    for (const ValueId v : keep) {
      if (const auto fresh = out.find(v); fresh != out.end()) {
        next[v] = std::move(fresh->second);
      } else if (const auto old = live_[row].find(v); old != live_[row].end()) {
        next[v] = old->second;
      }
    }
    live_[row] = std::move(next);
  });
  ++next_block_;
}

LiveValues RowStream::head_piece(const BlockProgram& program, size_t row, int64_t first,
                                 int64_t count) const {
  std::vector<int64_t> storage;
  Call call = call_for(row, first, count, storage);
  for (const auto& [v, value] : live_[row]) {
    call.inputs[v] = {value.buffer, slice_tokens(value.view, first, count)};
  }
  return program.run(call);
}

void RowStream::run_head(const BlockProgram& program, const TakeLogits& fn) const {
  const ValueId logits = graph_.outputs.find("logits")->second;
  compute::for_each(static_cast<int64_t>(rows_.size()), 1, [&](int64_t index, int64_t) {
    const auto row = static_cast<size_t>(index);
    const auto length = static_cast<int64_t>(rows_[row].size());
    const int64_t piece = program.token_wise() ? kHeadTokens : length;
    for (int64_t first = 0; first < length; first += piece) {
      const int64_t count = std::min(piece, length - first);
      const LiveValues out = head_piece(program, row, first, count);
      fn(row, first, out.at(logits).view);
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
  for (const LiveValues& row : live_) {
    for (const auto& [v, value] : row) {
      number(static_cast<uint64_t>(value.view.bytes()));
      put(value.view.data, static_cast<size_t>(value.view.bytes()));
    }
  }
  out << hash.hex();
  out.close();
  if (!out)
    throw Error(MOPT_IO, "the activations could not be written; is the disk full?", path.string());
}

void RowStream::load(const std::filesystem::path& path) {
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
  const std::vector<ValueId> kept = needed_from(graph_, block);
  std::vector<LiveValues> live(rows_.size());
  for (size_t row = 0; row < rows_.size(); ++row) {
    for (const ValueId v : kept) {
      std::vector<int64_t> extents;
      for (const int64_t d : graph_.values[v].dims) {
        extents.push_back(d == MOPT_DIM_BATCH  ? 1
                          : d == MOPT_DIM_TIME ? static_cast<int64_t>(rows_[row].size())
                                               : d);
      }
      LiveValue value{nullptr, compute::view_of(nullptr, dtype_, extents)};
      if (number() != static_cast<uint64_t>(value.view.bytes())) throw damaged();
      value.buffer = pool_->take(static_cast<size_t>(value.view.bytes()));
      value.view.data = value.buffer.get();
      get(value.view.data, static_cast<size_t>(value.view.bytes()));
      live[row][v] = std::move(value);
    }
  }
  const std::string end{std::istreambuf_iterator<char>(in), {}};
  if (end != hash.hex()) throw damaged();
  live_ = std::move(live);
  next_block_ = block;
}

}  // namespace mopt::pipeline
