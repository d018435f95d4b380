#include "host/graph/builder.hpp"

#include <algorithm>

#include "host/graph/opset.hpp"

namespace mopt::graph {
namespace {

Attribute attribute_of(const mopt_value& v) {
  switch (v.type) {
    case MOPT_INT:
      return v.as.i;
    case MOPT_FLOAT:
      return v.as.f;
    case MOPT_STR:
      return std::string(view(v.as.s));
    case MOPT_LIST: {
      std::vector<int64_t> list;
      for (uint32_t i = 0; i < v.count; ++i) {
        if (v.as.list[i].type != MOPT_INT)
          throw Error(MOPT_INVALID_ARGUMENT, "a list of integers is expected");
        list.push_back(v.as.list[i].as.i);
      }
      return list;
    }
    default:
      throw Error(MOPT_INVALID_ARGUMENT, "an attribute has no usable value");
  }
}

bool contains(const std::vector<ValueId>& values, ValueId v) {
  return std::find(values.begin(), values.end(), v) != values.end();
}

// A value produced in one block and used in a later one leaves the first and enters the second.
void find_live_values(Model& model) {
  // The last block that each parameter was listed for.
  std::vector<int> listed(model.params.size(), -1);
  for (const Op& op : model.ops) {
    Block& here = model.blocks[static_cast<size_t>(op.block)];
    for (const ValueId v : op.in) {
      const Value& value = model.values[v];
      if (value.param >= 0) {
        Param& param = model.params[static_cast<size_t>(value.param)];
        if (param.block < 0) param.block = op.block;
        int& last = listed[static_cast<size_t>(value.param)];
        if (last != op.block) here.params.push_back(value.param);
        last = op.block;
        continue;
      }
      if (value.producer < 0) continue;
      const int origin = model.ops[static_cast<size_t>(value.producer)].block;
      if (origin == op.block) continue;
      if (!contains(here.live_in, v)) here.live_in.push_back(v);
      auto& leaving = model.blocks[static_cast<size_t>(origin)].live_out;
      if (!contains(leaving, v)) leaving.push_back(v);
    }
  }
  for (const auto& [name, v] : model.outputs) {
    const int producer = model.values[v].producer;
    if (producer < 0) continue;
    auto& leaving =
        model.blocks[static_cast<size_t>(model.ops[static_cast<size_t>(producer)].block)].live_out;
    if (!contains(leaving, v)) leaving.push_back(v);
  }
}

}  // namespace

template <class Fn>
void Builder::attempt(std::string_view what, Fn&& fn) {
  if (!fault_.empty()) return;
  try {
    fn();
  } catch (const std::exception& e) {
    fault_ = std::string(what) + ": " + e.what();
  }
}

bool Builder::usable(std::span<const mopt_val> values) {
  return std::all_of(values.begin(), values.end(),
                     [&](mopt_val v) { return v != 0 && v < model_.values.size(); });
}

ValueId Builder::input(std::string_view name, std::vector<int64_t> dims) {
  if (name != "ids" && name != "positions") {
    throw Error(MOPT_UNSUPPORTED, "this host feeds 'ids' and 'positions' only");
  }
  const auto id = static_cast<ValueId>(model_.values.size());
  if (!model_.inputs.emplace(name, id).second) {
    throw Error(MOPT_INVALID_ARGUMENT, "it is declared twice");
  }
  model_.values.push_back({std::move(dims), std::string(name), {}, -1, -1});
  return id;
}

ValueId Builder::param(std::string_view name, std::vector<int64_t> dims) {
  if (std::any_of(dims.begin(), dims.end(), [](int64_t d) { return d <= 0; })) {
    throw Error(MOPT_INVALID_ARGUMENT, "expected extents above zero, found " + shape_text(dims));
  }
  const auto [known, fresh] = param_of_name_.emplace(name, model_.params.size());
  if (!fresh) {
    const Param& p = model_.params[known->second];
    if (p.dims != dims) {
      throw Error(MOPT_INVALID_ARGUMENT,
                  "asked for with shape " + shape_text(dims) + " and " + shape_text(p.dims));
    }
    return p.value;
  }
  const auto id = static_cast<ValueId>(model_.values.size());
  model_.values.push_back(
      {dims, std::string(name), {}, -1, static_cast<int>(model_.params.size())});
  model_.params.push_back({std::string(name), {}, {}, id, std::move(dims), -1});
  return id;
}

ValueId Builder::op(std::string_view kind, std::string_view label, std::span<const mopt_val> in,
                    std::span<const mopt_attr> attrs) {
  const OpSchema* schema = find_op(kind);
  if (schema == nullptr) throw Error(MOPT_UNSUPPORTED, "opset 1 has no such op");
  if (open_block_ < 0) throw Error(MOPT_FAILED_PRECONDITION, "it stands outside of any block");
  if (in.size() < schema->min_inputs || in.size() > schema->max_inputs) {
    throw Error(MOPT_INVALID_ARGUMENT, "expected " + std::to_string(schema->min_inputs) +
                                           " operands, found " + std::to_string(in.size()));
  }
  if (!usable(in)) throw Error(MOPT_INVALID_ARGUMENT, "an operand is not a value of this graph");
  Attributes given;
  for (const mopt_attr& a : attrs)
    given[std::string(view(a.name))] = attribute_of(a.value);
  Op op{schema->kind,
        std::string(label),
        {in.begin(), in.end()},
        0,
        complete(*schema, std::move(given)),
        open_block_};
  std::vector<Dims> dims;
  for (const mopt_val v : in)
    dims.push_back(model_.values[v].dims);
  op.out = static_cast<ValueId>(model_.values.size());
  model_.values.push_back(
      {schema->infer(dims, op.attributes), {}, {}, static_cast<int>(model_.ops.size()), -1});
  model_.ops.push_back(std::move(op));
  return model_.ops.back().out;
}

Builder::Builder() {
  mopt_builder& b = abi_.head;
  abi_.owner = this;
  b = {};
  b.struct_size = sizeof(mopt_builder);
  b.opset = 1;
  static constexpr auto self = [](mopt_builder* b) -> Builder& {
    return *reinterpret_cast<Abi*>(b)->owner;
  };
  b.input = [](mopt_builder* b, mopt_str name, DLDataType, int32_t n,
               const int64_t* dims) noexcept {
    ValueId id = 0;
    self(b).attempt("input '" + std::string(view(name)) + "'", [&] {
      id = self(b).input(view(name), {dims, dims + n});
    });
    return id;
  };
  b.param = [](mopt_builder* b, mopt_str name, int32_t n, const int64_t* dims) noexcept {
    ValueId id = 0;
    self(b).attempt("parameter '" + std::string(view(name)) + "'", [&] {
      id = self(b).param(view(name), {dims, dims + n});
    });
    return id;
  };
  b.op = [](mopt_builder* b, mopt_str kind, mopt_str label, const mopt_val* in, uint32_t n_in,
            const mopt_attr* attrs, uint32_t n_attrs) noexcept {
    ValueId id = 0;
    self(b).attempt("op '" + std::string(view(kind)) + "' " + std::string(view(label)), [&] {
      id = self(b).op(view(kind), view(label), {in, n_in}, {attrs, n_attrs});
    });
    return id;
  };
  b.begin_block = [](mopt_builder* b, mopt_str role, int64_t index) noexcept {
    self(b).attempt("begin_block", [&] {
      Builder& s = self(b);
      if (s.open_block_ >= 0) throw Error(MOPT_FAILED_PRECONDITION, "blocks do not nest");
      s.open_block_ = static_cast<int>(s.model_.blocks.size());
      Block block;
      block.role = view(role);
      block.index = index;
      block.first_op = s.model_.ops.size();
      s.model_.blocks.push_back(std::move(block));
    });
  };
  b.end_block = [](mopt_builder* b) noexcept {
    self(b).attempt("end_block", [&] {
      Builder& s = self(b);
      if (s.open_block_ < 0) throw Error(MOPT_FAILED_PRECONDITION, "no block is open");
      s.model_.blocks.back().end_op = s.model_.ops.size();
      s.open_block_ = -1;
    });
  };
  b.tag = [](mopt_builder* b, mopt_val v, mopt_str role) noexcept {
    self(b).attempt("tag '" + std::string(view(role)) + "'", [&] {
      Model& m = self(b).model_;
      if (!self(b).usable({&v, 1})) throw Error(MOPT_INVALID_ARGUMENT, "not a value of this graph");
      Value& value = m.values[v];
      // A tied head asks for the embedding again: the first role stays.
      if (value.role.empty()) value.role = view(role);
      if (value.param >= 0) m.params[static_cast<size_t>(value.param)].role = value.role;
    });
  };
  b.fuse_group = [](mopt_builder* b, mopt_str name, const mopt_val* params, uint32_t n) noexcept {
    self(b).attempt("fuse_group '" + std::string(view(name)) + "'", [&] {
      Model& m = self(b).model_;
      for (uint32_t i = 0; i < n; ++i) {
        if (!self(b).usable({&params[i], 1}) || m.values[params[i]].param < 0) {
          throw Error(MOPT_INVALID_ARGUMENT, "a member is not a parameter");
        }
        m.params[static_cast<size_t>(m.values[params[i]].param)].fuse_group = view(name);
      }
    });
  };
  b.output = [](mopt_builder* b, mopt_str name, mopt_val v) noexcept {
    self(b).attempt("output '" + std::string(view(name)) + "'", [&] {
      if (!self(b).usable({&v, 1})) throw Error(MOPT_INVALID_ARGUMENT, "not a value of this graph");
      self(b).model_.outputs.emplace(view(name), v);
    });
  };
}

// The last block is run on parts of a row for its logits alone.
void Builder::check_outputs() const {
  const auto logits = model_.outputs.find("logits");
  if (logits == model_.outputs.end()) {
    throw Error(MOPT_INVALID_ARGUMENT, "the adapter declared no output 'logits'");
  }
  const Value& value = model_.values[logits->second];
  if (value.producer < 0 || value.dims.size() != 3 ||
      model_.ops[static_cast<size_t>(value.producer)].block + 1 !=
          static_cast<int>(model_.blocks.size())) {
    throw Error(MOPT_INVALID_ARGUMENT,
                "expected output 'logits' [B, T, V] from an op of the last block, found shape " +
                    shape_text(value.dims));
  }
}

Model Builder::finish(std::string architecture) {
  if (!fault_.empty()) throw Error(MOPT_INTERNAL, "the adapter built no valid graph: " + fault_);
  if (open_block_ >= 0) throw Error(MOPT_INTERNAL, "the adapter left a block open");
  for (const char* name : {"ids", "positions"}) {
    if (!model_.inputs.contains(name)) {
      throw Error(MOPT_INVALID_ARGUMENT,
                  std::string("the adapter declared no input '") + name + "'");
    }
  }
  check_outputs();
  model_.architecture = std::move(architecture);
  find_live_values(model_);
  return std::move(model_);
}

}  // namespace mopt::graph
