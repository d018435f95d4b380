// The tree of values that a recipe's text becomes: every node knows where it was written. Merging
// and
// --set work on it, before anything has a meaning.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "host/recipe/recipe.hpp"

namespace mopt {

struct Node {
  enum class Kind { kBool, kInt, kFloat, kText, kTime, kArray, kTable };
  Kind kind = Kind::kTable;
  bool flag = false;
  int64_t integer = 0;
  double number = 0;
  std::string text;
  std::vector<Node> items;                            // kArray
  std::vector<std::pair<std::string, Node>> members;  // kTable, as written
  Origin key;     // of the key that it stands under; of the header for [a] and [[a]]
  Origin origin;  // of the value

  const Node* find(std::string_view name) const;
  Node* find(std::string_view name);
  bool is_table() const { return kind == Kind::kTable; }
  bool is_table_array() const;  // [[...]], or an array of inline tables
};

// "an integer", "a string", ... for messages.
std::string_view kind_name(Node::Kind);

// Lays `over` upon `base`: tables by key, arrays of tables by id, everything else replaces.
void merge(Node& base, Node over);

// Puts `value` under a path of keys; an element of an array of tables is named by its id. Throws
// Failure E108 with the place of `value` when the path leads through something else.
void set_value(Node& root, const std::vector<std::string>& path, Node value);

// Collects the diagnostics of one stage.
class Findings {
 public:
  void add(std::string_view code, const Origin&, std::string message, std::string remedy = {});
  void add(Diagnostic d) { list_.push_back(std::move(d)); }
  void add(const Failure&);
  bool empty() const { return list_.empty(); }
  // Throws all of them, by file and line, unless there are none.
  void raise();

 private:
  std::vector<Diagnostic> list_;
};

Diagnostic diagnose(std::string_view code, const Origin&, std::string message,
                    std::string remedy = {});

// "did you mean 'rule'?", or `otherwise` when no candidate is near; `prefix` goes before the name.
std::string suggest(std::string_view word, const std::vector<std::string>& candidates,
                    std::string_view prefix, std::string otherwise);

// "'a', 'b' and 'c'"
std::string list_names(const std::vector<std::string>& names);

}  // namespace mopt
