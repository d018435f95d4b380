#include "host/recipe/options.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "mopt/error.hpp"

namespace mopt {
namespace {

std::string_view type_word(mopt_type type) {
  switch (type) {
    case MOPT_BOOL:
      return "a boolean";
    case MOPT_INT:
      return "an integer";
    case MOPT_FLOAT:
      return "a float";
    default:
      return "a string";
  }
}

OptionValue from_abi(const mopt_value& value) {
  switch (value.type) {
    case MOPT_BOOL:
      return value.as.i != 0;
    case MOPT_INT:
      return value.as.i;
    case MOPT_FLOAT:
      return value.as.f;
    case MOPT_STR:
      return std::string(view(value.as.s));
    default:
      return std::monostate{};
  }
}

// monostate: the node has another type than the option.
OptionValue convert(const Node& node, mopt_type type) {
  using Kind = Node::Kind;
  if (type == MOPT_BOOL && node.kind == Kind::kBool) return node.flag;
  if (type == MOPT_INT && node.kind == Kind::kInt) return node.integer;
  if (type == MOPT_FLOAT && node.kind == Kind::kFloat) return node.number;
  if (type == MOPT_FLOAT && node.kind == Kind::kInt) return static_cast<double>(node.integer);
  if (type == MOPT_STR && node.kind == Kind::kText) return node.text;
  return {};
}

std::string range_text(const mopt_option& o) {
  const bool min = (o.flags & MOPT_OPTION_HAS_MIN) != 0, max = (o.flags & MOPT_OPTION_HAS_MAX) != 0;
  if (min && max) return fmt::format("from {} to {}", o.min, o.max);
  return min ? fmt::format("at least {}", o.min) : fmt::format("at most {}", o.max);
}

bool in_range(const mopt_option& o, double value) {
  // Written so that NaN is outside.
  const bool above = (o.flags & MOPT_OPTION_HAS_MIN) == 0 || value >= o.min;
  const bool below = (o.flags & MOPT_OPTION_HAS_MAX) == 0 || value <= o.max;
  return above && below && value == value;
}

// One option of one component, with what messages need.
struct Subject {
  const mopt_option& option;
  std::string of;  // "quantizer 'nvfp4'"
};

OptionValue check_value(const Node& node, const Subject& s, Findings& problems) {
  const mopt_option& o = s.option;
  OptionValue value = convert(node, o.type);
  if (std::holds_alternative<std::monostate>(value)) {
    problems.add("E102", node.origin,
                 fmt::format("expected {} for option '{}' of {}, found {}", type_word(o.type),
                             o.name, s.of, kind_name(node.kind)));
    return value;
  }
  const auto* integer = std::get_if<int64_t>(&value);
  const auto* number = std::get_if<double>(&value);
  if ((integer != nullptr && !in_range(o, static_cast<double>(*integer))) ||
      (number != nullptr && !in_range(o, *number))) {
    problems.add(
        "E104", node.origin,
        fmt::format("option '{}' of {} is {}, but must be {}", o.name, s.of,
                    integer != nullptr ? fmt::format("{}", *integer) : fmt::format("{}", *number),
                    range_text(o)));
  }
  const auto* text = std::get_if<std::string>(&value);
  const std::vector<std::string> choices(o.choices, o.choices + o.n_choices);
  if (text != nullptr && !choices.empty() && std::ranges::find(choices, *text) == choices.end()) {
    problems.add("E104", node.origin,
                 fmt::format("option '{}' of {} is '{}', but must be one of {}", o.name, s.of,
                             *text, list_names(choices)),
                 suggest(*text, choices, "", ""));
  }
  return value;
}

void report_unknown(const Node& table, const OptionContext& context, const std::string& of,
                    Findings& problems) {
  std::vector<std::string> known;
  for (const mopt_option& o : context.component.options)
    known.emplace_back(o.name);
  for (const auto& [name, node] : table.members) {
    const bool reserved = std::ranges::find(context.reserved, name) != context.reserved.end();
    if (reserved || std::ranges::find(known, name) != known.end()) continue;
    const std::string all =
        known.empty() ? "it has no options" : "its options are " + list_names(known);
    problems.add("E103", node.key, fmt::format("unknown option '{}' of {}", name, of),
                 suggest(name, known, "", all));
  }
}

}  // namespace

std::string interface_word(std::string_view interface_id) {
  const size_t dot = interface_id.find('.');
  const std::string_view tail =
      dot == std::string_view::npos ? interface_id : interface_id.substr(dot + 1);
  return std::string(tail.substr(0, tail.find('/')));
}

OptionSet resolve_options(const Node* table, const OptionContext& context, Findings& problems,
                          std::vector<Diagnostic>& warnings) {
  const ComponentSchema& component = context.component;
  const std::string of =
      fmt::format("{} '{}'", interface_word(component.interface_id), component.name);
  OptionSet out;
  for (const mopt_option& o : component.options) {
    const Node* given = table == nullptr ? nullptr : table->find(o.name);
    if (given == nullptr) {
      if ((o.flags & MOPT_OPTION_REQUIRED) != 0) {
        problems.add("E106", context.place, fmt::format("option '{}' of {} is missing", o.name, of),
                     fmt::format("write {} = ...: {}", o.name, o.help));
      }
      out.values.push_back({o.name, from_abi(o.def), {}});
      continue;
    }
    if ((o.flags & MOPT_OPTION_DEPRECATED) != 0) {
      warnings.push_back(diagnose(
          "W107", given->key, fmt::format("option '{}' of {} is deprecated", o.name, of), o.help));
    }
    out.values.push_back({o.name, check_value(*given, {o, of}, problems), given->origin});
  }
  if (table != nullptr) report_unknown(*table, context, of, problems);
  return out;
}

OptionSet default_options(const ComponentSchema& component) {
  Findings problems;
  std::vector<Diagnostic> warnings;
  OptionSet out = resolve_options(nullptr, {component, {}, {}}, problems, warnings);
  problems.raise();
  return out;
}

std::vector<mopt_setting> OptionSet::settings() const {
  std::vector<mopt_setting> out;
  for (const OptionSetting& s : values) {
    mopt_value value{};
    if (const auto* flag = std::get_if<bool>(&s.value)) {
      value.type = MOPT_BOOL;
      value.as.i = *flag;
    } else if (const auto* integer = std::get_if<int64_t>(&s.value)) {
      value.type = MOPT_INT;
      value.as.i = *integer;
    } else if (const auto* number = std::get_if<double>(&s.value)) {
      value.type = MOPT_FLOAT;
      value.as.f = *number;
    } else if (const auto* text = std::get_if<std::string>(&s.value)) {
      value.type = MOPT_STR;
      value.as.s = str(*text);
    }
    out.push_back({str(s.name), value});
  }
  return out;
}

}  // namespace mopt
