// The model as ops on values, in blocks. Built by an adapter through the SDK's builder;
// straight-line, unfused, no hidden control flow.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "mopt/graph.h"
#include "mopt/tensor.hpp"

namespace mopt::graph {

using ValueId = mopt_val;  // index into Model::values; 0 is invalid
using Attribute = std::variant<int64_t, double, std::string, std::vector<int64_t>>;
using Attributes = std::map<std::string, Attribute, std::less<>>;

enum class OpKind {
  kEmbedding,
  kLinear,
  kRmsNorm,
  kReshape,
  kRope,
  kAttention,
  kActivation,
  kAdd,
  kMul
};

// Extents: above zero, or MOPT_DIM_BATCH, MOPT_DIM_TIME.
struct Value {
  std::vector<int64_t> dims;
  std::string name;  // of an input or parameter
  std::string role;
  int producer = -1;  // index into Model::ops
  int param = -1;     // index into Model::params
};

struct Op {
  OpKind kind{};
  std::string label;  // the module's name in the checkpoint, empty for glue
  std::vector<ValueId> in;
  ValueId out = 0;
  Attributes attributes;  // complete: defaults are filled in
  int block = -1;

  int64_t integer(std::string_view name) const { return get<int64_t>(name); }
  double number(std::string_view name) const { return get<double>(name); }
  const std::string& text(std::string_view name) const { return get<std::string>(name); }
  const std::vector<int64_t>& list(std::string_view name) const {
    return get<std::vector<int64_t>>(name);
  }

 private:
  template <class T>
  const T& get(std::string_view name) const {
    return std::get<T>(attributes.find(name)->second);
  }
};

// A value bound to a checkpoint tensor.
struct Param {
  std::string name;  // "model.layers.0.mlp.up_proj.weight"
  std::string role;
  std::string fuse_group;
  ValueId value = 0;
  std::vector<int64_t> dims;
  int block = -1;  // the first block that uses it
};

// A part of the graph with explicit live-ins and live-outs: the unit of loading, calibrating,
// journaling.
struct Block {
  std::string role;  // "embed", "decoder", "head"
  int64_t index = 0;
  size_t first_op = 0, end_op = 0;         // [first_op, end_op) of Model::ops
  std::vector<ValueId> live_in, live_out;  // neither parameters nor graph inputs
  std::vector<int> params;                 // used here, in order of first use
  std::string name() const;                // "decoder.3"
};

struct Model {
  std::string architecture;            // adapter component that built it
  std::vector<Value> values{Value{}};  // values[0] is the invalid one
  std::vector<Op> ops;
  std::vector<Param> params;
  std::vector<Block> blocks;
  std::map<std::string, ValueId, std::less<>> inputs, outputs;

  const Param* param_of(ValueId v) const {
    return values[v].param < 0 ? nullptr : &params[static_cast<size_t>(values[v].param)];
  }
};

// Values that blocks from `block` on take from earlier ones, rising.
std::vector<ValueId> needed_from(const Model&, size_t block);
// Whether an op's result may lie where an operand was that nobody needs any more.
bool may_write_over(OpKind);

// One line per op, grouped by block; values as %n, extents, roles. Stable: it can be compared in
// tests.
std::string print(const Model&);
std::string_view op_name(OpKind);

}  // namespace mopt::graph
