#include "host/plan/forward_cost.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>

#include "host/plan/cost.hpp"

namespace mopt::plan {
namespace {

using graph::Block;
using graph::Model;
using graph::Op;
using graph::OpKind;
using graph::ValueId;

// A tile of attention: rows of scores in f32, and how much they may fill.
constexpr int64_t kTileRows = 96;
constexpr int64_t kScoreBytes = 768 << 10;

uint64_t value_bytes(const Model& model, ValueId v, int64_t tokens, DLDataType dtype) {
  uint64_t elements = 1;
  for (const int64_t d : model.values[v].dims)
    elements *= d == MOPT_DIM_TIME ? static_cast<uint64_t>(tokens)
                : d > 0            ? static_cast<uint64_t>(d)
                                   : 1;
  return (mopt_nbytes(elements, dtype) + kBufferAlignment - 1) / kBufferAlignment *
         kBufferAlignment;
}

// Ops of a block that the forward runs, by their distance from first_op.
std::vector<bool> needed_ops(const Model& model, size_t b, const ForwardEnd& end) {
  const Block& block = model.blocks[b];
  std::vector<bool> ops(block.end_op - block.first_op, true);
  if (b != end.last_block || end.values.empty()) return ops;
  std::set<ValueId> needed(end.values.begin(), end.values.end());
  for (size_t i = block.end_op; i-- > block.first_op;) {
    ops[i - block.first_op] = needed.contains(model.ops[i].out);
    if (ops[i - block.first_op]) needed.insert(model.ops[i].in.begin(), model.ops[i].in.end());
  }
  return ops;
}

// Buffers by size: one that is free serves the next value of its size only.
using Counts = std::map<uint64_t, int64_t>;

void raise(Counts& to, const Counts& from) {
  for (const auto& [bytes, count] : from)
    to[bytes] = std::max(to[bytes], count);
}

uint64_t total(const Counts& counts) {
  uint64_t bytes = 0;
  for (const auto& [size, count] : counts)
    bytes += size * static_cast<uint64_t>(count);
  return bytes;
}

// Values made before block `b` that it or a later one takes.
Counts live_before(const Model& model, size_t b, const ForwardShape& shape) {
  Counts live;
  for (const ValueId v : graph::needed_from(model, b))
    ++live[value_bytes(model, v, shape.tokens, shape.dtype)];
  return live;
}

// The most buffers of each size that one row holds inside a block, apart from the block's live-ins,
// which stay as they are until the row is through.
Counts inside(const Model& model, size_t b, const ForwardShape& shape, const ForwardEnd& end) {
  const Block& block = model.blocks[b];
  const std::vector<bool> needed = needed_ops(model, b, end);
  std::unordered_map<ValueId, size_t> last_use;
  std::unordered_map<ValueId, ValueId> buffer_of;  // a reshape has its source's
  const auto buffer = [&](ValueId v) {
    const auto found = buffer_of.find(v);
    return found == buffer_of.end() ? v : found->second;
  };
  for (size_t i = block.first_op; i < block.end_op; ++i) {
    const Op& op = model.ops[i];
    if (!needed[i - block.first_op]) continue;
    if (op.kind == OpKind::kReshape) buffer_of[op.out] = buffer(op.in[0]);
    for (const ValueId v : op.in)
      last_use[buffer(v)] = i;
  }
  for (const ValueId v : block.live_out)
    last_use[buffer(v)] = block.end_op;
  std::unordered_map<ValueId, uint64_t> alive;
  Counts now, most;
  for (size_t i = block.first_op; i < block.end_op; ++i) {
    const Op& op = model.ops[i];
    if (!needed[i - block.first_op]) continue;
    if (op.kind != OpKind::kReshape) {
      const uint64_t bytes = value_bytes(model, op.out, shape.tokens, shape.dtype);
      alive[op.out] = bytes;
      ++now[bytes];
      raise(most, now);
    }
    std::erase_if(alive, [&](const auto& entry) {
      const auto used = last_use.find(entry.first);
      if (used != last_use.end() && used->second > i) return false;
      --now[entry.second];
      return true;
    });
  }
  return most;
}

// Packed keys and values and the angles of one row, and a tile of scores, queries and results.
uint64_t attention_scratch(const Model& model, const Block& block, const ForwardShape& shape) {
  uint64_t bytes = 0;
  for (size_t i = block.first_op; i < block.end_op; ++i) {
    const Op& op = model.ops[i];
    if (op.kind != OpKind::kAttention) continue;
    const int64_t head = model.values[op.in[0]].dims.back();
    const int64_t tile = std::min(kScoreBytes, kTileRows * shape.tokens * 4) + kTileRows * head * 8;
    const auto angles = static_cast<int64_t>(shape.tokens * head * sizeof(float));
    bytes = std::max(bytes, value_bytes(model, op.in[1], shape.tokens, shape.dtype) +
                                value_bytes(model, op.in[2], shape.tokens, shape.dtype) +
                                static_cast<uint64_t>(tile + angles));
  }
  return bytes;
}

}  // namespace

std::vector<ForwardMemory> forward_memory(const Model& model, const ForwardShape& shape,
                                          const ForwardEnd& end) {
  const int64_t working = std::min<int64_t>(shape.threads, shape.rows);
  std::vector<ForwardMemory> out;
  Counts all;
  uint64_t scratch = 0;
  for (size_t b = 0; b < model.blocks.size() && b <= end.last_block; ++b) {
    const Counts before = live_before(model, b, shape), after = live_before(model, b + 1, shape);
    Counts held = inside(model, b, shape, end);
    for (auto& [bytes, count] : held)
      count *= working;
    for (const auto& [bytes, count] : before)
      held[bytes] += count * shape.rows;
    raise(all, held);
    Counts kept = after;
    for (auto& [bytes, count] : kept)
      count *= shape.rows;
    raise(all, kept);
    scratch = std::max(scratch, attention_scratch(model, model.blocks[b], shape));
    const uint64_t rows = static_cast<uint64_t>(shape.rows);
    out.push_back({std::max(total(before), total(after)) * rows,
                   total(all) + scratch * static_cast<uint64_t>(working)});
  }
  return out;
}

BlockWeights block_weights(const Model& model, const Container& source, size_t block,
                           DLDataType dtype, const ForwardEnd& end) {
  BlockWeights out;
  std::set<ValueId> products, used;
  const Block& b = model.blocks[block];
  const std::vector<bool> needed = needed_ops(model, block, end);
  for (size_t i = b.first_op; i < b.end_op; ++i) {
    const Op& op = model.ops[i];
    if (!needed[i - b.first_op]) continue;
    used.insert(op.in.begin(), op.in.end());
    if (op.kind == OpKind::kLinear) products.insert(op.in[1]);
  }
  for (const int p : b.params) {
    const graph::Param& param = model.params[static_cast<size_t>(p)];
    const StoredTensor* t = source.find(param.name);
    if (t == nullptr || !used.contains(param.value)) continue;
    const auto n = static_cast<uint64_t>(elements(t->shape));
    const uint64_t wanted = mopt_nbytes(n, dtype);
    const bool in_place = t->plain && same(t->dtype, dtype) && wanted >= kTableBytes;
    if (products.contains(param.value)) {
      // Its source, and where the type differs its copy, are there while it is packed.
      const uint64_t reading = same(t->dtype, dtype) ? wanted : wanted + mopt_nbytes(n, t->dtype);
      out.peak = std::max(out.peak, out.prepared + reading + wanted);
      out.prepared += wanted;
    } else if (!in_place) {
      out.prepared += wanted;
    }
    out.peak = std::max(out.peak, out.prepared);
  }
  return out;
}

uint64_t cache_bytes_per_token(const Model& model, DLDataType dtype) {
  uint64_t bytes = 0;
  for (const Op& op : model.ops) {
    if (op.kind != OpKind::kAttention) continue;
    for (const size_t operand : {size_t{1}, size_t{2}}) {
      uint64_t elements = 1;
      for (const int64_t d : model.values[op.in[operand]].dims)
        elements *= d > 0 ? static_cast<uint64_t>(d) : 1;
      bytes += mopt_nbytes(elements, dtype);
    }
  }
  return bytes;
}

}  // namespace mopt::plan
