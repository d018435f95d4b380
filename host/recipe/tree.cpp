#include "host/recipe/tree.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

namespace mopt {
namespace {

const Node* id_of(const Node& element) {
  const Node* id = element.is_table() ? element.find("id") : nullptr;
  return id != nullptr && id->kind == Node::Kind::kText ? id : nullptr;
}

Node* element_with_id(Node& array, std::string_view id) {
  for (Node& element : array.items) {
    const Node* own = id_of(element);
    if (own != nullptr && own->text == id) return &element;
  }
  return nullptr;
}

void merge_by_id(Node& base, Node& over) {
  for (Node& element : over.items) {
    const Node* id = id_of(element);
    Node* same = id == nullptr ? nullptr : element_with_id(base, id->text);
    if (same != nullptr) {
      merge(*same, std::move(element));
    } else {
      base.items.push_back(std::move(element));
    }
  }
  base.key = over.key;
  base.origin = over.origin;
}

Failure bad_path(const Node& value, std::string message, std::string remedy) {
  return Failure(diagnose("E108", value.origin, std::move(message), std::move(remedy)));
}

// One step of a --set path; the child is made when it is not there.
Node& step(Node& at, const std::string& name, std::string_view walked, const Node& value) {
  if (at.is_table()) {
    if (Node* child = at.find(name)) return *child;
    Node made;
    made.key = made.origin = value.origin;
    return at.members.emplace_back(name, std::move(made)).second;
  }
  if (!at.is_table_array()) {
    throw bad_path(value,
                   fmt::format("'{}' is {}, it has no '{}'", walked, kind_name(at.kind), name),
                   "name a table before the last dot");
  }
  if (Node* element = element_with_id(at, name)) return *element;
  std::vector<std::string> ids;
  for (const Node& element : at.items) {
    if (const Node* id = id_of(element)) ids.push_back(id->text);
  }
  throw bad_path(value, fmt::format("'{}' has no element with the id '{}'", walked, name),
                 suggest(name, ids, "", "its ids are " + list_names(ids)));
}

}  // namespace

std::string to_string(const Origin& o) {
  if (o.is_default()) return "default";
  std::string out = printable(o.file);
  if (o.line > 0) out += fmt::format(":{}:{}", o.line, o.column);
  return out;
}

const Node* Node::find(std::string_view name) const {
  for (const auto& [key, value] : members) {
    if (key == name) return &value;
  }
  return nullptr;
}

Node* Node::find(std::string_view name) {
  return const_cast<Node*>(std::as_const(*this).find(name));
}

bool Node::is_table_array() const {
  return kind == Kind::kArray && !items.empty() &&
         std::ranges::all_of(items, [](const Node& n) { return n.is_table(); });
}

std::string_view kind_name(Node::Kind kind) {
  switch (kind) {
    case Node::Kind::kBool:
      return "a boolean";
    case Node::Kind::kInt:
      return "an integer";
    case Node::Kind::kFloat:
      return "a float";
    case Node::Kind::kText:
      return "a string";
    case Node::Kind::kTime:
      return "a date or time";
    case Node::Kind::kArray:
      return "an array";
    case Node::Kind::kTable:
      return "a table";
  }
  return "?";
}

void merge(Node& base, Node over) {
  if (base.is_table_array() && over.is_table_array()) {
    merge_by_id(base, over);
    return;
  }
  if (!base.is_table() || !over.is_table()) {
    base = std::move(over);
    return;
  }
  for (auto& [name, value] : over.members) {
    if (Node* same = base.find(name)) {
      merge(*same, std::move(value));
    } else {
      base.members.emplace_back(name, std::move(value));
    }
  }
  base.key = over.key;
  base.origin = over.origin;
}

void set_value(Node& root, const std::vector<std::string>& path, Node value) {
  Node* at = &root;
  std::string walked;
  for (size_t i = 0; i + 1 < path.size(); ++i) {
    at = &step(*at, path[i], walked, value);
    walked += (walked.empty() ? "" : ".") + path[i];
  }
  if (at->is_table() && at->find(path.back()) == nullptr) {
    at->members.emplace_back(path.back(), std::move(value));
    return;
  }
  Node& target = step(*at, path.back(), walked, value);
  merge(target, std::move(value));
}

Diagnostic diagnose(std::string_view code, const Origin& origin, std::string message,
                    std::string remedy) {
  Diagnostic d;
  d.code = code;
  d.file = origin.file;
  d.line = origin.line;
  d.column = origin.column;
  d.message = std::move(message);
  d.remedy = std::move(remedy);
  if (code.starts_with('W')) d.severity = Severity::kWarning;
  return d;
}

void Findings::add(std::string_view code, const Origin& origin, std::string message,
                   std::string remedy) {
  add(diagnose(code, origin, std::move(message), std::move(remedy)));
}

void Findings::add(const Failure& failure) {
  for (const Diagnostic& d : failure.diagnostics())
    add(d);
}

void Findings::raise() {
  if (list_.empty()) return;
  const auto by_place = [](const Diagnostic& a, const Diagnostic& b) {
    return std::tie(a.file, a.line, a.column) < std::tie(b.file, b.line, b.column);
  };
  std::ranges::stable_sort(list_, by_place);
  throw Failure(std::move(list_));
}

std::string suggest(std::string_view word, const std::vector<std::string>& candidates,
                    std::string_view prefix, std::string otherwise) {
  const std::string near = nearest(word, candidates);
  return near.empty() ? otherwise : fmt::format("did you mean '{}{}'?", prefix, near);
}

std::string list_names(const std::vector<std::string>& names) {
  if (names.empty()) return "none";
  std::string out;
  for (size_t i = 0; i < names.size(); ++i) {
    if (i > 0) out += i + 1 == names.size() ? " and " : ", ";
    out += fmt::format("'{}'", names[i]);
  }
  return out;
}

}  // namespace mopt
