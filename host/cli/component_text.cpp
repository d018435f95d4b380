#include "host/cli/component_text.hpp"

#include "host/recipe/diagnostic.hpp"
#include "mopt/error.hpp"

namespace mopt::cli {
namespace {

std::string type_word(mopt_type type) {
  switch (type) {
    case MOPT_BOOL:
      return "true or false";
    case MOPT_INT:
      return "a whole number";
    case MOPT_FLOAT:
      return "a number";
    default:
      return "a text";
  }
}

std::string value_text(const mopt_value& v) {
  switch (v.type) {
    case MOPT_BOOL:
      return v.as.i != 0 ? "true" : "false";
    case MOPT_INT:
      return std::to_string(v.as.i);
    case MOPT_FLOAT:
      return measure_text(v.as.f);
    case MOPT_STR:
      return "\"" + std::string(view(v.as.s)) + "\"";
    default:
      return {};
  }
}

std::string limit_text(const mopt_option& o, double limit) {
  return o.type == MOPT_INT ? std::to_string(static_cast<int64_t>(limit)) : measure_text(limit);
}

std::string range_text(const mopt_option& o) {
  const bool low = (o.flags & MOPT_OPTION_HAS_MIN) != 0;
  const bool high = (o.flags & MOPT_OPTION_HAS_MAX) != 0;
  if (low && high) return ", " + limit_text(o, o.min) + " to " + limit_text(o, o.max);
  if (low) return ", at least " + limit_text(o, o.min);
  if (high) return ", at most " + limit_text(o, o.max);
  return {};
}

std::string kind_text(const mopt_option& o) {
  if (o.n_choices == 0) return type_word(o.type) + range_text(o);
  std::string text = "one of";
  for (uint32_t i = 0; i < o.n_choices; ++i) {
    text += (i == 0 ? " \"" : ", \"") + std::string(o.choices[i]) + "\"";
  }
  return text;
}

}  // namespace

std::string interface_word(std::string_view id) {
  constexpr std::string_view kPrefix = "mopt.";
  if (!id.starts_with(kPrefix)) return std::string(id);
  id.remove_prefix(kPrefix.size());
  return std::string(id.substr(0, id.find('/')));
}

Entry option_entry(const mopt_option& o) {
  const std::string def = value_text(o.def);
  std::string text = std::string(o.help) + "; " + kind_text(o);
  if ((o.flags & MOPT_OPTION_REQUIRED) != 0) text += "; required";
  if ((o.flags & MOPT_OPTION_DEPRECATED) != 0) text += "; deprecated";
  return {printable(o.name + (def.empty() ? "" : " = " + def)), printable(text)};
}

std::vector<Entry> option_entries(std::span<const mopt_option> options) {
  std::vector<Entry> list;
  for (const mopt_option& o : options)
    list.push_back(option_entry(o));
  return list;
}

}  // namespace mopt::cli
