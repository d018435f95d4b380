// Parsing (the only file that knows toml++), `extends`, --set, and lookup in the recipe library.
#include "host/recipe/source.hpp"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

namespace mopt {
namespace {

namespace fs = std::filesystem;

// ---- toml++ to Node
// ------------------------------------------------------------------------------

Origin to_origin(const toml::source_position& at, const std::string& file) {
  return {file, static_cast<int>(at.line), static_cast<int>(at.column)};
}

// [a] and [[a]] stand where their header begins, everything else where its key begins.
Origin place_of_key(const toml::key& key, const toml::node& value, const std::string& file) {
  const toml::table* table = value.as_table();
  const toml::array* array = value.as_array();
  if (array != nullptr && array->is_array_of_tables()) table = array->front().as_table();
  const bool header = table != nullptr && !table->is_inline() && value.source().begin.line > 0;
  return to_origin(header ? value.source().begin : key.source().begin, file);
}

Node to_node(const toml::node& from, const std::string& file);

void fill_table(Node& to, const toml::table& from, const std::string& file) {
  for (const auto& [key, value] : from) {
    Node child = to_node(value, file);
    child.key = place_of_key(key, value, file);
    to.members.emplace_back(std::string(key.str()), std::move(child));
  }
  // toml++ sorts by name.
  std::ranges::stable_sort(to.members, [](const auto& a, const auto& b) {
    return std::tie(a.second.key.line, a.second.key.column) <
           std::tie(b.second.key.line, b.second.key.column);
  });
}

Node to_node(const toml::node& from, const std::string& file) {
  Node to;
  to.origin = to.key = to_origin(from.source().begin, file);
  if (const auto* table = from.as_table()) {
    fill_table(to, *table, file);
  } else if (const auto* array = from.as_array()) {
    to.kind = Node::Kind::kArray;
    for (const toml::node& item : *array)
      to.items.push_back(to_node(item, file));
  } else if (const auto* text = from.as_string()) {
    to.kind = Node::Kind::kText;
    to.text = text->get();
  } else if (const auto* integer = from.as_integer()) {
    to.kind = Node::Kind::kInt;
    to.integer = integer->get();
  } else if (const auto* number = from.as_floating_point()) {
    to.kind = Node::Kind::kFloat;
    to.number = number->get();
  } else if (const auto* flag = from.as_boolean()) {
    to.kind = Node::Kind::kBool;
    to.flag = flag->get();
  } else {
    to.kind = Node::Kind::kTime;
  }
  return to;
}

std::string explain(const toml::parse_error& error) {
  constexpr std::string_view lead = "Error while parsing ";
  std::string out(error.description());
  return out.starts_with(lead) ? "bad " + out.substr(lead.size()) : out;
}

// ---- --set
// ---------------------------------------------------------------------------------------

void place_all(Node& node, const Origin& origin) {
  node.key = node.origin = origin;
  for (Node& item : node.items)
    place_all(item, origin);
  for (auto& [name, value] : node.members)
    place_all(value, origin);
}

// The path of keys in "a.\"b.c\".d"; empty when it is not one.
std::vector<std::string> split_key(std::string_view key) {
  std::vector<std::string> path;
  try {
    const Node tree = parse_toml(std::string(key) + " = 0", "");
    const Node* at = &tree;
    while (at->is_table()) {
      if (at->members.size() != 1) return {};
      path.push_back(at->members[0].first);
      at = &at->members[0].second;
    }
    return at->kind == Node::Kind::kInt ? path : std::vector<std::string>{};
  } catch (const Failure&) {
    return {};
  }
}

// TOML, else a bare string; text that begins like TOML's strings, arrays and tables must be TOML.
Node parse_value(const std::string& text, const Origin& origin) {
  try {
    Node tree = parse_toml("v = " + text, "");
    if (tree.members.size() == 1 && !tree.members[0].second.is_table()) {
      return std::move(tree.members[0].second);
    }
    if (tree.members.size() == 1 && text.starts_with('{')) {
      return std::move(tree.members[0].second);
    }
  } catch (const Failure& failure) {
    if (!text.empty() && std::string_view("\"'[{").find(text[0]) != std::string_view::npos) {
      throw Failure(diagnose("E108", origin, "the value is " + failure.diagnostics()[0].message,
                             "quote the whole argument for the shell"));
    }
  }
  Node bare;
  bare.kind = Node::Kind::kText;
  bare.text = text;
  return bare;
}

size_t find_equals(std::string_view text) {
  char quote = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (quote != 0) {
      if (text[i] == quote) quote = 0;
    } else if (text[i] == '"' || text[i] == '\'') {
      quote = text[i];
    } else if (text[i] == '=') {
      return i;
    }
  }
  return std::string_view::npos;
}

void apply_set(Node& root, const std::string& argument) {
  const size_t equals = find_equals(argument);
  const std::string key = argument.substr(0, equals);
  const Origin origin{"--set " + key};
  const auto path = equals == std::string::npos ? std::vector<std::string>{} : split_key(key);
  if (path.empty()) {
    throw Failure(diagnose("E108", origin, fmt::format("expected a.b=value, found '{}'", argument),
                           "write the dotted key, '=' and a TOML value or a bare string"));
  }
  if (path[0] == "extends" || path[0] == "schema") {
    throw Failure(diagnose("E108", origin, fmt::format("'{}' belongs to a file", path[0]),
                           "write a recipe that extends what you need"));
  }
  Node value = parse_value(argument.substr(equals + 1), origin);
  place_all(value, origin);
  set_value(root, path, std::move(value));
}

// ---- the library
// ---------------------------------------------------------------------------------

bool is_path(std::string_view name) {
  return name.find('/') != std::string_view::npos || name.find(".toml") != std::string_view::npos;
}

bool leaves_library(const fs::path& name) {
  return name.is_absolute() ||
         std::ranges::any_of(name, [](const fs::path& p) { return p == ".."; });
}

// A model_type comes from a file: it must be one plain folder name.
bool plain(std::string_view folder) {
  return !folder.empty() && folder != "." && folder != ".." &&
         folder.find('/') == std::string_view::npos;
}

std::vector<fs::path> library_folders(const fs::path& library, std::string_view model_type) {
  std::vector<fs::path> out;
  if (plain(model_type)) out.push_back(library / "models" / model_type);
  out.push_back(library / "general");
  return out;
}

// The file of a bare name; empty when there is none.
fs::path in_library(const RecipeRequest& request, const std::string& name) {
  for (const fs::path& folder : library_folders(request.library, request.model_type)) {
    const fs::path file = folder / (name + ".toml");
    std::error_code ignored;
    if (fs::exists(file, ignored)) return file;
  }
  return {};
}

// Names that begin or end like `name`, and the nearest one by typing.
std::string near_names(const std::string& name, const std::vector<std::string>& all) {
  std::vector<std::string> near;
  const std::string typed = nearest(name, all);
  if (!typed.empty()) near.push_back(typed);
  for (const std::string& other : all) {
    const bool related = !name.empty() && (other.starts_with(name) || name.starts_with(other));
    if (related && other != typed) near.push_back(other);
  }
  if (!near.empty()) return fmt::format("near: {}", list_names(near));
  return fmt::format("the library has {}; a file needs a '/' or '.toml' in its name",
                     list_names(all));
}

// ---- files
// ---------------------------------------------------------------------------------------

struct FileText {
  std::string text, fault;
};

FileText read_text(const fs::path& file) {
  std::error_code ignored;
  if (!fs::exists(file, ignored)) return {"", "it does not exist"};
  if (fs::is_directory(file, ignored)) return {"", "it is a directory"};
  std::ifstream in(file, std::ios::binary);
  std::ostringstream text;
  if (!in) return {"", "it cannot be read"};
  text << in.rdbuf();
  return {text.str(), ""};
}

void check_ids(const Node& node, const std::string& path, Findings& schema) {
  for (const auto& [name, value] : node.members) {
    const std::string inner = path.empty() ? name : path + "." + name;
    if (value.is_table()) check_ids(value, inner, schema);
    if (!value.is_table_array()) continue;
    std::vector<const Node*> seen;
    for (const Node& element : value.items) {
      const Node* id = element.find("id");
      if (id == nullptr || id->kind != Node::Kind::kText) continue;
      const auto first =
          std::ranges::find_if(seen, [&](const Node* other) { return other->text == id->text; });
      if (first == seen.end()) {
        seen.push_back(id);
        continue;
      }
      schema.add("E105", id->key,
                 fmt::format("two elements of '{}' have the id '{}', the first in line {}", inner,
                             id->text, (*first)->key.line),
                 "give each its own id");
    }
  }
}

void check_schema_version(const Node& tree, const std::string& file, Findings& schema) {
  const Node* version = tree.find("schema");
  if (version == nullptr) {
    schema.add("E106", {file, 1, 1}, "'schema' is missing", "write schema = 1 at the top");
  } else if (version->kind != Node::Kind::kInt) {
    schema.add("E102", version->origin,
               fmt::format("expected an integer for 'schema', found {}", kind_name(version->kind)),
               "write schema = 1");
  } else if (version->integer != 1) {
    schema.add("E109", version->origin,
               fmt::format("schema {} is not known, this program reads schema 1", version->integer),
               "write the recipe for schema 1, or use a newer program");
  }
}

// Reads a file and all that it extends.
class Reader {
 public:
  Reader(const RecipeRequest& request, Findings& schema) : request_(request), schema_(schema) {}

  Node read(const fs::path& file) {
    const FileText got = read_text(file);
    if (!got.fault.empty()) {
      throw Failure(diagnose(
          "E205", {}, fmt::format("cannot read the recipe '{}': {}", file.string(), got.fault),
          "give an existing file, or a bare name of the library"));
    }
    return expand(parse_toml(got.text, file.string()), file);
  }

 private:
  Node expand(Node own, const fs::path& file) {
    check_schema_version(own, file.string(), schema_);
    check_ids(own, "", schema_);
    stack_.push_back(fs::weakly_canonical(file));
    Node merged;
    for (const auto& [name, origin] : bases(own))
      merge(merged, read_base(name, origin, file));
    stack_.pop_back();
    std::erase_if(own.members, [](const auto& m) { return m.first == "extends"; });
    // The name of a base is the base's.
    std::erase_if(merged.members,
                  [](const auto& m) { return m.first == "name" || m.first == "description"; });
    merge(merged, std::move(own));
    return merged;
  }

  std::vector<PlacedText> bases(const Node& own) {
    const Node* extends = own.find("extends");
    if (extends == nullptr) return {};
    std::vector<PlacedText> out;
    bool texts = extends->kind == Node::Kind::kArray;
    for (const Node& item : extends->items) {
      texts = texts && item.kind == Node::Kind::kText;
      out.push_back({item.text, item.origin});
    }
    if (texts) return out;
    schema_.add("E102", extends->origin,
                fmt::format("expected an array of strings for 'extends', found {}",
                            extends->kind == Node::Kind::kArray ? "another array"
                                                                : kind_name(extends->kind)),
                "write extends = [\"general/base\"]");
    return {};
  }

  fs::path locate(const std::string& name, const fs::path& from) const {
    if (name.starts_with("./") || name.starts_with("../")) {
      return (from.parent_path() / name).lexically_normal();
    }
    if (leaves_library(name)) return {};
    if (name.find('/') == std::string::npos) return in_library(request_, name);
    return request_.library / (name.ends_with(".toml") ? name : name + ".toml");
  }

  Node read_base(const std::string& name, const Origin& origin, const fs::path& from) {
    const fs::path file = locate(name, from);
    const FileText got = file.empty() ? FileText{"", "it is not in the library"} : read_text(file);
    if (!got.fault.empty()) {
      const std::string where = file.empty() ? request_.library.string() : file.string();
      throw Failure(diagnose(
          "E201", origin,
          fmt::format("cannot extend '{}': {} (looked for {})", name, got.fault, where),
          "name a recipe of the library, such as \"general/base\", or a file with ./ or ../"));
    }
    const fs::path real = fs::weakly_canonical(file);
    if (std::ranges::find(stack_, real) != stack_.end()) {
      std::string circle;
      for (const fs::path& link : stack_)
        circle += link.filename().string() + " -> ";
      throw Failure(diagnose("E202", origin,
                             "recipes extend each other: " + circle + real.filename().string(),
                             "remove one of the links"));
    }
    return expand(parse_toml(got.text, file.string()), file);
  }

  const RecipeRequest& request_;
  Findings& schema_;
  std::vector<fs::path> stack_;
};

}  // namespace

Node parse_toml(std::string_view text, const std::string& file) {
  try {
    const toml::table table = toml::parse(text, std::string_view(file));
    Node root;
    root.origin = root.key = {file, 1, 1};
    fill_table(root, table, file);
    return root;
  } catch (const toml::parse_error& error) {
    throw Failure(diagnose("E001", to_origin(error.source().begin, file), explain(error),
                           "correct the TOML here or on the line above"));
  }
}

std::filesystem::path find_recipe(const RecipeRequest& request) {
  if (is_path(request.name)) return request.name;
  const fs::path found = in_library(request, request.name);
  if (!found.empty() && !request.name.empty()) return found;
  std::string folders;
  for (const fs::path& folder : library_folders(request.library, request.model_type)) {
    folders += (folders.empty() ? "" : " or ") + folder.string();
  }
  throw Failure(
      diagnose("E205", {}, fmt::format("no recipe '{}' in {}", request.name, folders),
               near_names(request.name, library_names(request.library, request.model_type))));
}

std::vector<std::string> library_names(const std::filesystem::path& library,
                                       std::string_view model_type) {
  std::set<std::string> names;
  for (const fs::path& folder : library_folders(library, model_type)) {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(folder, ignored)) {
      if (entry.path().extension() == ".toml") names.insert(entry.path().stem().string());
    }
  }
  return {names.begin(), names.end()};
}

Node read_recipe(const RecipeRequest& request, Findings& schema) {
  Findings syntax;
  Node root;
  try {
    root = Reader(request, schema).read(find_recipe(request));
  } catch (const Failure& failure) {
    syntax.add(failure);
  }
  for (const Override& o : request.overrides) {
    Node value;
    value.kind = Node::Kind::kText;
    value.text = o.value;
    value.key = value.origin = {o.place, 0, 0};
    try {
      set_value(root, split_key(o.key), std::move(value));
    } catch (const Failure&) {
      // The recipe has no table there, which the schema stage reports at its own place.
    }
  }
  const bool readable = syntax.empty();
  for (const std::string& set : request.sets) {
    try {
      apply_set(root, set);
    } catch (const Failure& failure) {
      // Without the recipe, ids that it defines cannot be found.
      if (readable) syntax.add(failure);
    }
  }
  syntax.raise();
  return root;
}

std::string peek_model_path(const RecipeRequest& request) {
  Findings ignored;
  try {
    const Node root = read_recipe(request, ignored);
    const Node* model = root.find("model");
    const Node* path = model != nullptr && model->is_table() ? model->find("path") : nullptr;
    return path != nullptr && path->kind == Node::Kind::kText ? path->text : "";
  } catch (const Failure&) {
    // load_recipe reports it; until then the command line's word counts.
    for (const Override& o : request.overrides) {
      if (o.key == "model.path") return o.value;
    }
    return "";
  }
}

}  // namespace mopt
