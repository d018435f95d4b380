#include "host/graph/graph.hpp"

#include <set>

#include "host/graph/opset.hpp"

namespace mopt::graph {
namespace {

std::string dims_text(const std::vector<int64_t>& dims) {
  std::string text = "[";
  for (size_t i = 0; i < dims.size(); ++i) {
    text += i == 0 ? "" : ", ";
    text += dims[i] == MOPT_DIM_BATCH  ? "B"
            : dims[i] == MOPT_DIM_TIME ? "T"
                                       : std::to_string(dims[i]);
  }
  return text + "]";
}

std::string attribute_text(const Attribute& a) {
  if (const auto* i = std::get_if<int64_t>(&a)) return std::to_string(*i);
  if (const auto* s = std::get_if<std::string>(&a)) return *s;
  if (const auto* l = std::get_if<std::vector<int64_t>>(&a)) return shape_text(*l);
  char text[32];
  std::snprintf(text, sizeof(text), "%g", std::get<double>(a));
  return text;
}

std::string operand_text(const Model& model, ValueId v) {
  const Value& value = model.values[v];
  return value.name.empty() ? "%" + std::to_string(v) : value.name;
}

// Attributes that differ from their defaults.
std::string attributes_text(const Op& op) {
  std::string text;
  for (const AttributeSchema& a : schema_of(op.kind).attributes) {
    const Attribute& value = op.attributes.find(a.name)->second;
    if (a.def && *a.def == value) continue;
    text += (text.empty() ? "" : ", ") + std::string(a.name) + "=" + attribute_text(value);
  }
  return text.empty() ? "" : " {" + text + "}";
}

}  // namespace

std::string Block::name() const {
  return role + "." + std::to_string(index);
}

std::string_view op_name(OpKind kind) {
  return schema_of(kind).name;
}

std::string print(const Model& model) {
  std::string text = "model " + model.architecture + "\n";
  for (const Block& block : model.blocks) {
    text += "block " + block.name() + "\n";
    for (size_t i = block.first_op; i < block.end_op; ++i) {
      const Op& op = model.ops[i];
      std::string operands;
      for (const ValueId v : op.in)
        operands += (operands.empty() ? "" : ", ") + operand_text(model, v);
      const Value& out = model.values[op.out];
      text += "  %" + std::to_string(op.out) + " = " + std::string(op_name(op.kind)) + "(" +
              operands + ")" + attributes_text(op) + " " + dims_text(out.dims) +
              (out.role.empty() ? "" : " <" + out.role + ">") + "\n";
    }
  }
  for (const auto& [name, v] : model.outputs)
    text += "output " + name + " = " + operand_text(model, v) + "\n";
  return text;
}

std::vector<ValueId> needed_from(const Model& model, size_t block) {
  std::set<ValueId> needed;
  for (size_t b = block; b < model.blocks.size(); ++b) {
    for (const ValueId v : model.blocks[b].live_in) {
      const Op& producer = model.ops[static_cast<size_t>(model.values[v].producer)];
      if (static_cast<size_t>(producer.block) < block) needed.insert(v);
    }
  }
  return {needed.begin(), needed.end()};
}

bool may_write_over(OpKind kind) {
  return kind == OpKind::kActivation || kind == OpKind::kAdd || kind == OpKind::kMul ||
         kind == OpKind::kRope || kind == OpKind::kRmsNorm;
}

}  // namespace mopt::graph
