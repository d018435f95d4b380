// For the tests of this folder: graphs that are written down op by op.
#pragma once

#include <string>
#include <vector>

#include "host/graph/graph.hpp"

namespace mopt::plan::test {

using graph::OpKind;
using graph::ValueId;

inline constexpr int64_t kB = MOPT_DIM_BATCH, kT = MOPT_DIM_TIME;

// Blocks say themselves what they take and give.
struct Tiny {
  graph::Model model;

  ValueId value(std::vector<int64_t> dims) {
    model.values.push_back({std::move(dims), "", "", -1, -1});
    return static_cast<ValueId>(model.values.size() - 1);
  }
  ValueId param(const std::string& name, std::vector<int64_t> dims) {
    const ValueId v = value(dims);
    model.values[v].param = static_cast<int>(model.params.size());
    model.params.push_back({name, "", "", v, std::move(dims), -1});
    return v;
  }
  ValueId op(OpKind kind, std::vector<ValueId> in, std::vector<int64_t> dims) {
    const ValueId out = value(std::move(dims));
    model.values[out].producer = static_cast<int>(model.ops.size());
    model.ops.push_back({kind, "", std::move(in), out, {}, static_cast<int>(model.blocks.size())});
    return out;
  }
  // Ends the block of the ops since the last one.
  void block(std::vector<ValueId> live_in, std::vector<ValueId> live_out) {
    graph::Block b;
    b.first_op = model.blocks.empty() ? 0 : model.blocks.back().end_op;
    b.end_op = model.ops.size();
    b.live_in = std::move(live_in);
    b.live_out = std::move(live_out);
    for (size_t i = b.first_op; i < b.end_op; ++i) {
      for (const ValueId v : model.ops[i].in) {
        if (model.values[v].param >= 0) b.params.push_back(model.values[v].param);
      }
    }
    model.blocks.push_back(std::move(b));
  }
};

// Embedding; norm, two linears around an activation, and the sum with what came in; a head. Of
// 64 tokens in f32 the values x have 2 KiB, h and a 4 KiB, the logits 8 KiB.
struct Mlp : Tiny {
  ValueId x0, n, h, a, y, x1, logits;
  Mlp() {
    const ValueId ids = value({kB, kT});
    x0 = op(OpKind::kEmbedding, {ids, param("table", {32, 8})}, {kB, kT, 8});
    block({}, {x0});
    n = op(OpKind::kRmsNorm, {x0, param("norm", {8})}, {kB, kT, 8});
    h = op(OpKind::kLinear, {n, param("up", {16, 8})}, {kB, kT, 16});
    a = op(OpKind::kActivation, {h}, {kB, kT, 16});
    y = op(OpKind::kLinear, {a, param("down", {8, 16}), param("bias", {8})}, {kB, kT, 8});
    x1 = op(OpKind::kAdd, {x0, y}, {kB, kT, 8});
    block({x0}, {x1});
    logits = op(OpKind::kLinear, {x1, param("head", {32, 8})}, {kB, kT, 32});
    block({x1}, {logits});
  }
};

}  // namespace mopt::plan::test
