// Opset 1 as data: what each kind takes, its attributes with their defaults, and its shape rule.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "host/graph/graph.hpp"

namespace mopt::graph {

struct AttributeSchema {
  std::string_view name;
  mopt_type type;
  std::optional<Attribute> def;                // nullopt: required
  std::vector<std::string_view> choices = {};  // of a string; empty: any
};

using Dims = std::vector<int64_t>;

struct OpSchema {
  OpKind kind{};
  std::string_view name;
  size_t min_inputs = 0, max_inputs = 0;
  std::vector<AttributeSchema> attributes;
  // The result's extents. Throws mopt::Error saying what was expected of which operand.
  Dims (*infer)(std::span<const Dims> in, const Attributes&);
};

const OpSchema* find_op(std::string_view name);
const OpSchema& schema_of(OpKind);

// Checks names, types and choices, and fills defaults in.
Attributes complete(const OpSchema&, Attributes given);

}  // namespace mopt::graph
