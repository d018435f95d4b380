#include <nlohmann/json.hpp>
#include <stdexcept>

#include "tests/recipe/checks.hpp"

namespace mopt::test {
namespace {

using nlohmann::json;

// "/a/[name=x/y]/0" -> "a", "[name=x/y]", "0".
std::vector<std::string> segments(const std::string& pointer) {
  std::vector<std::string> parts;
  int depth = 0;
  for (const char c : pointer) {
    if (c == '/' && depth == 0) {
      parts.emplace_back();
      continue;
    }
    depth += c == '[' ? 1 : c == ']' ? -1 : 0;
    if (parts.empty()) parts.emplace_back();
    parts.back() += c;
  }
  return parts;
}

std::string text_of(const json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

// Does `element` pass "[*]" or "[key=value]"?
bool selected(const json& element, const std::string& segment) {
  const std::string inner = segment.substr(1, segment.size() - 2);
  if (inner == "*") return true;
  const size_t equals = inner.find('=');
  const std::string key = inner.substr(0, equals);
  return element.is_object() && element.contains(key) &&
         text_of(element[key]) == inner.substr(equals + 1);
}

// Every value that the pointer reaches.
std::vector<json> resolve(const json& root, const std::string& pointer) {
  std::vector<json> values{root};
  for (const std::string& segment : segments(pointer)) {
    std::vector<json> next;
    for (const json& value : values) {
      if (segment.starts_with("[") && value.is_array()) {
        for (const json& element : value) {
          if (selected(element, segment)) next.push_back(element);
        }
      } else if (value.is_array() && !segment.empty() &&
                 segment.find_first_not_of("0123456789") == std::string::npos) {
        if (std::stoul(segment) < value.size()) next.push_back(value[std::stoul(segment)]);
      } else if (value.is_object() && value.contains(segment)) {
        next.push_back(value[segment]);
      }
    }
    values = std::move(next);
  }
  return values;
}

json parse_value(const std::string& text) {
  const json value = json::parse(text, nullptr, false);
  return value.is_discarded() ? json(text) : value;
}

bool contains(const json& value, const std::string& part) {
  if (value.is_string()) return value.get<std::string>().find(part) != std::string::npos;
  if (!value.is_array()) return false;
  for (const json& element : value) {
    if (text_of(element) == part) return true;
  }
  return false;
}

bool holds(const json& value, const std::string& op, const std::string& text) {
  const json expected = parse_value(text);
  if (op == "==") return value == expected;
  if (op == "!=") return value != expected;
  if (op == "~") return contains(value, text);
  if (op == "size") return value.size() == expected.get<size_t>();
  if (!value.is_number() || !expected.is_number()) return false;
  const double a = value.get<double>(), b = expected.get<double>();
  if (op == "<") return a < b;
  if (op == "<=") return a <= b;
  if (op == ">") return a > b;
  if (op == ">=") return a >= b;
  throw std::runtime_error("'" + op + "' is no operator of a json check");
}

}  // namespace

std::string json_text(const std::string& text, const std::string& pointer) {
  const std::vector<json> values = resolve(json::parse(text), pointer);
  if (values.empty()) throw std::runtime_error("there is no " + pointer + " in:\n" + text);
  return text_of(values.front());
}

void check_json(const std::string& text, const std::vector<std::string>& words) {
  if (words.size() < 2) throw std::runtime_error("json POINTER OPERATOR [VALUE] expected");
  const json root = json::parse(text, nullptr, false);
  if (root.is_discarded()) throw std::runtime_error("expected JSON, found:\n" + text);
  const std::vector<json> values = resolve(root, words[0]);
  const std::string& op = words[1];
  std::string shown = words[0];
  shown.append(" ").append(op);
  for (size_t i = 2; i < words.size(); ++i)
    shown.append(" ").append(words[i]);
  if (op == "exists" || op == "absent") {
    if (values.empty() == (op == "absent")) return;
    throw std::runtime_error("expected " + shown + " in:\n" + root.dump(1));
  }
  if (words.size() != 3) throw std::runtime_error("expected one value after '" + op + "'");
  for (const json& value : values) {
    if (holds(value, op, words[2])) return;
  }
  std::string found;
  for (const json& value : values)
    found.append(" ").append(value.dump());
  throw std::runtime_error("expected " + shown + ", found" + (found.empty() ? " nothing" : found) +
                           " in:\n" + root.dump(1).substr(0, 4000));
}

}  // namespace mopt::test
