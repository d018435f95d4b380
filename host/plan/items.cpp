#include "host/plan/items.hpp"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <unordered_set>

#include "host/plan/roles.hpp"
#include "host/recipe/match.hpp"

namespace mopt::plan {
namespace {

using graph::Model;
using graph::Op;
using graph::OpKind;

bool is_float(DLDataType t) {
  return same(t, kBf16) || same(t, kF16) || same(t, kF32);
}

Item item_of(const mopt::StoredTensor& t) {
  Item item;
  item.name = item.source = t.name;
  item.dtype = t.dtype;
  item.shape.assign(t.shape.begin(), t.shape.end());
  item.layer = layer_from_name(t.name);
  return item;
}

// How each parameter is used: a tied embedding is an embedding first.
std::unordered_map<graph::ValueId, mopt_param_kind> kinds_of(const Model& model) {
  std::unordered_map<graph::ValueId, mopt_param_kind> kinds;
  for (const Op& op : model.ops) {
    if (op.kind == OpKind::kEmbedding) kinds[op.in[1]] = MOPT_PARAM_EMBEDDING;
    if (op.kind == OpKind::kLinear) kinds.try_emplace(op.in[1], MOPT_PARAM_LINEAR);
  }
  return kinds;
}

void append(Plan& plan, Unit& unit, Item item) {
  unit.items.push_back(plan.items.size());
  plan.items.push_back(std::move(item));
}

// A tied head stored once more, tables that the configuration replaces.
void decide_unknown(const PlanInput& in, Item& item, Plan& plan) {
  const auto logits = in.graph->outputs.find("logits");
  const Op& head = in.graph->ops[static_cast<size_t>(in.graph->values[logits->second].producer)];
  const graph::Param* weight =
      head.kind == OpKind::kLinear ? in.graph->param_of(head.in[1]) : nullptr;
  if (weight != nullptr && weight->role == "embed" && item.name == head.label + ".weight") {
    item.outcome = Outcome::kDropped;
    item.rule = "tied";
    item.reason = "tied to " + weight->name + ", which is stored";
    return;
  }
  if (item.name == "rope_freqs.weight") {
    item.outcome = Outcome::kDropped;
    item.rule = "rope_freqs";
    item.reason = "config.json's rope_scaling says the same";
    return;
  }
  item.reason = "the adapter does not know it";
  plan.warnings.push_back({.code = "W108",
                           .tensor = item.name,
                           .message = "adapter '" + in.graph->architecture +
                                      "' does not use this tensor; it is copied as it is",
                           .severity = Severity::kWarning});
}

void list_with_graph(const PlanInput& in, Plan& plan) {
  const auto kinds = kinds_of(*in.graph);
  std::unordered_set<std::string_view> known;
  for (size_t b = 0; b < in.graph->blocks.size(); ++b) {
    const graph::Block& block = in.graph->blocks[b];
    Unit unit{block.name(), static_cast<int>(b), {}};
    for (const int p : block.params) {
      const graph::Param& param = in.graph->params[static_cast<size_t>(p)];
      if (param.block != static_cast<int>(b)) continue;
      known.insert(param.name);
      Item item = item_of(*in.source.find(param.name));
      const auto kind = kinds.find(param.value);
      if (kind != kinds.end()) item.kind = kind->second;
      item.known = true;
      item.role = param.role;
      item.fuse_group = param.fuse_group;
      item.layer = block.role == "decoder" ? static_cast<int>(block.index) : -1;
      append(plan, unit, std::move(item));
    }
    plan.units.push_back(std::move(unit));
  }
  Unit rest{"rest", -1, {}};
  for (const mopt::StoredTensor& t : in.source.tensors()) {
    if (known.contains(t.name)) continue;
    Item item = item_of(t);
    decide_unknown(in, item, plan);
    append(plan, rest, std::move(item));
  }
  if (!rest.items.empty()) plan.units.push_back(std::move(rest));
}

void list_by_name(const PlanInput& in, Plan& plan) {
  std::map<int, Unit> layers;  // -1: what belongs to no layer
  for (const mopt::StoredTensor& t : in.source.tensors()) {
    Item item = item_of(t);
    item.role = role_from_name(t.name);
    item.fuse_group = fuse_group_from_name(t.name);
    if (t.shape.size() == 2 && is_float(t.dtype) && t.name.ends_with(".weight")) {
      item.kind = item.role == "embed" ? MOPT_PARAM_EMBEDDING : MOPT_PARAM_LINEAR;
    }
    Unit& unit = layers[item.layer];
    unit.name = item.layer < 0 ? "rest" : "layer." + std::to_string(item.layer);
    append(plan, unit, std::move(item));
  }
  for (auto& [layer, unit] : layers) {
    if (layer >= 0) plan.units.push_back(std::move(unit));
  }
  if (layers.contains(-1)) plan.units.push_back(std::move(layers[-1]));
}

}  // namespace

void list_items(const PlanInput& in, Plan& plan) {
  if (in.graph != nullptr) return list_with_graph(in, plan);
  list_by_name(in, plan);
}

}  // namespace mopt::plan
