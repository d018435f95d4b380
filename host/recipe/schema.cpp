// From the merged tree to a typed recipe: known keys, types, ranges, components, references.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "host/recipe/match.hpp"
#include "host/recipe/options.hpp"
#include "host/recipe/source.hpp"
#include "mopt/mopt.h"

namespace mopt {
namespace {

constexpr std::string_view kReserved[] = {"prune",  "draft", "train",  "distill",
                                          "search", "step",  "launch", "parallel"};
constexpr std::string_view kInterfaces[] = {MOPT_QUANTIZER_INTERFACE, MOPT_CALIBRATOR_INTERFACE,
                                            MOPT_PRUNER_INTERFACE,    MOPT_EXPORTER_INTERFACE,
                                            MOPT_ADAPTER_INTERFACE,   MOPT_FORMAT_INTERFACE};
constexpr std::string_view kEngines[] = {"vllm", "sglang", "tensorrt-llm", "transformers",
                                         "llama.cpp"};

std::vector<std::string> to_strings(std::span<const std::string_view> views) {
  return {views.begin(), views.end()};
}

std::string with_article(std::string_view noun) {
  const bool vowel = noun.find_first_of("aeiou") == 0;
  return fmt::format("{} {}", vowel ? "an" : "a", noun);
}

struct Range {
  int64_t least, most;
};
// Products of two counts stay far from the limits of int64_t.
constexpr int64_t kMostRows = 1'000'000'000, kMostTokens = 1 << 24;
constexpr double kMostNumber = 1e9;

// Reads the keys of one table, each with its type; `finish` reports what nobody asked for.
class Keys {
 public:
  Keys(const Node& table, std::string path, Findings& problems)
      : table_(table), path_(std::move(path)), problems_(problems) {}

  const Node* take(std::string_view key) {
    known_.emplace_back(key);
    return table_.find(key);
  }
  // Known, but never suggested.
  const Node* take_unlisted(std::string_view key) {
    unlisted_.emplace_back(key);
    return table_.find(key);
  }
  const Node* take(std::string_view key, Node::Kind kind, std::string_view wanted) {
    const Node* node = take(key);
    return node != nullptr && typed(*node, node->kind == kind, key, wanted) ? node : nullptr;
  }
  const Node* table(std::string_view key) { return take(key, Node::Kind::kTable, "a table"); }

  std::vector<const Node*> tables(std::string_view key) {
    std::vector<const Node*> out;
    const Node* node = take(key);
    if (node == nullptr) return out;
    const bool right =
        node->kind == Node::Kind::kArray && (node->items.empty() || node->is_table_array());
    if (!typed(*node, right, key, fmt::format("an array of tables ([[{}]])", full(key))))
      return out;
    for (const Node& item : node->items)
      out.push_back(&item);
    return out;
  }

  std::optional<PlacedText> text(std::string_view key) {
    const Node* node = take(key, Node::Kind::kText, "a string");
    if (node == nullptr) return std::nullopt;
    if (node->text.empty())
      problems_.add("E104", node->origin, fmt::format("'{}' is empty", full(key)));
    return PlacedText{node->text, node->origin};
  }
  PlacedText text(std::string_view key, std::string_view otherwise) {
    return text(key).value_or(PlacedText{std::string(otherwise), {}});
  }
  PlacedText required_text(std::string_view key) {
    if (table_.find(key) == nullptr) missing(key);
    return text(key, "");
  }

  std::optional<Placed<int64_t>> integer(std::string_view key, Range range) {
    const Node* node = take(key, Node::Kind::kInt, "an integer");
    if (node == nullptr) return std::nullopt;
    if (node->integer < range.least || node->integer > range.most) {
      problems_.add("E104", node->origin,
                    fmt::format("'{}' is {}, but must be from {} to {}", full(key), node->integer,
                                range.least, range.most));
    }
    return Placed<int64_t>{node->integer, node->origin};
  }
  Placed<int64_t> integer(std::string_view key, Range range, int64_t otherwise) {
    return integer(key, range).value_or(Placed<int64_t>{otherwise, {}});
  }

  std::optional<Placed<double>> positive(std::string_view key) {
    const Node* node = take(key);
    if (node == nullptr) return std::nullopt;
    const bool integer = node->kind == Node::Kind::kInt;
    if (!typed(*node, integer || node->kind == Node::Kind::kFloat, key, "a number"))
      return std::nullopt;
    const double value = integer ? static_cast<double>(node->integer) : node->number;
    if (!(value > 0 && value <= kMostNumber)) {
      problems_.add("E104", node->origin,
                    fmt::format("'{}' is {}, but must be above zero and at most {:g}", full(key),
                                value, kMostNumber));
    }
    return Placed<double>{value, node->origin};
  }

  Placed<bool> flag(std::string_view key) {
    const Node* node = take(key, Node::Kind::kBool, "a boolean");
    return node == nullptr ? Placed<bool>{} : Placed<bool>{node->flag, node->origin};
  }

  // A string, or a list of strings that is not empty.
  std::vector<PlacedText> texts(std::string_view key) {
    const Node* node = take(key);
    if (node == nullptr) return {};
    if (node->kind == Node::Kind::kText) return {{node->text, node->origin}};
    std::vector<PlacedText> out;
    bool right = node->kind == Node::Kind::kArray;
    for (const Node& item : node->items) {
      right = right && item.kind == Node::Kind::kText;
      out.push_back({item.text, item.origin});
    }
    if (!typed(*node, right, key, "a string or an array of strings")) return {};
    if (out.empty()) problems_.add("E104", node->origin, fmt::format("'{}' is empty", full(key)));
    return out;
  }

  void missing(std::string_view key, std::string remedy = {}) {
    problems_.add("E106", table_.key, fmt::format("'{}' is missing", full(key)), std::move(remedy));
  }

  void finish() {
    for (const auto& [name, node] : table_.members) {
      if (std::ranges::find(known_, name) != known_.end()) continue;
      if (std::ranges::find(unlisted_, name) != unlisted_.end()) continue;
      const std::string prefix = path_.empty() ? "" : path_ + ".";
      problems_.add("E101", node.key, fmt::format("unknown key '{}{}'", prefix, name),
                    suggest(name, known_, prefix, "known here are " + list_names(known_)));
    }
  }

  const Node& node() const { return table_; }
  std::string full(std::string_view key) const {
    return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
  }

 private:
  bool typed(const Node& node, bool right, std::string_view key, std::string_view wanted) {
    if (right) return true;
    problems_.add(
        "E102", node.origin,
        fmt::format("expected {} for '{}', found {}", wanted, full(key), kind_name(node.kind)));
    return false;
  }

  const Node& table_;
  std::string path_;
  Findings& problems_;
  std::vector<std::string> known_, unlisted_;
};

class Builder {
 public:
  Builder(const Catalogue& catalogue, Findings& schema) : catalogue_(catalogue), schema_(schema) {}

  Recipe build(const Node& root, std::string file) {
    recipe_.file = std::move(file);
    Keys keys(root, "", schema_);
    keys.take("schema");
    recipe_.name = keys.text("name", std::filesystem::path(recipe_.file).stem().string());
    recipe_.description = keys.text("description", "");
    refuse_reserved(keys);
    if (const Node* table = keys.table("format")) read_formats(*table);
    read_model(keys.table("model"));
    if (const Node* table = keys.table("calibration")) read_calibration(*table);
    if (const Node* table = keys.table("quantize")) read_quantize(*table);
    if (const Node* table = keys.table("sparsify")) read_sparsify(*table);
    read_export(keys.table("export"));
    for (const Node* table : keys.tables("eval"))
      read_eval(*table);
    if (const Node* table = keys.table("verify")) read_verify(*table);
    keys.finish();
    schema_.raise();
    references_.raise();
    return std::move(recipe_);
  }

 private:
  void refuse_reserved(Keys& keys) {
    for (const std::string_view name : kReserved) {
      const Node* node = keys.take_unlisted(name);
      if (node == nullptr) continue;
      const std::string shown = node->kind == Node::Kind::kArray ? fmt::format("[[{}]]", name)
                                                                 : fmt::format("[{}]", name);
      schema_.add("E107", node->key, shown + " is not yet available", "remove it");
    }
  }

  // ---- components
  // --------------------------------------------------------------------------------

  std::optional<ComponentSchema> component(std::string_view interface_id, const PlacedText& name,
                                           std::string_view what) {
    if (auto found = catalogue_.find(interface_id, name.value)) return found;
    for (const std::string_view other : kInterfaces) {
      if (!catalogue_.find(other, name.value)) continue;
      references_.add("E204", name.origin,
                      fmt::format("expected {}, but '{}' is {}", with_article(what), name.value,
                                  with_article(interface_word(other))),
                      known_names(interface_id, what));
      return std::nullopt;
    }
    std::vector<std::string> names = catalogue_.names(interface_id);
    for (const Format& f : recipe_.formats) {
      if (what == "format") names.push_back(f.id);
    }
    references_.add("E203", name.origin, fmt::format("unknown {} '{}'", what, name.value),
                    suggest(name.value, names, "", known_names(interface_id, what)));
    return std::nullopt;
  }

  std::string known_names(std::string_view interface_id, std::string_view what) const {
    const std::vector<std::string> names = catalogue_.names(interface_id);
    const std::string look = "`mopt-host plugins` says what is loaded";
    if (names.empty())
      return fmt::format("no plugin with {} is loaded, {}", with_article(what), look);
    return fmt::format("loaded are {}; {}", list_names(names), look);
  }

  OptionSet options(const Node* table, const ComponentSchema& schema, const Origin& place,
                    std::vector<std::string_view> reserved = {}) {
    return resolve_options(table, {schema, place, std::move(reserved)}, schema_, recipe_.warnings);
  }

  // A component that a key names, with its options in the sub-table of its name.
  AppliedComponent applied(std::string_view interface_id, const PlacedText& name, Keys& keys,
                           std::string_view what) {
    AppliedComponent out{name, {}};
    const Node* table = keys.table(name.value);
    if (const auto schema = component(interface_id, name, what)) {
      out.options = options(table, *schema, table != nullptr ? table->key : name.origin);
    }
    return out;
  }

  // [quantize.awq] while the recipe applies only "max".
  void refuse_unused(Keys& keys, std::string_view interface_id, std::string_view key,
                     const std::vector<std::string>& used) {
    for (const auto& [name, node] : keys.node().members) {
      const bool is_used = std::ranges::find(used, name) != used.end();
      if (is_used || !node.is_table() || !catalogue_.find(interface_id, name)) continue;
      keys.take_unlisted(name);
      schema_.add("E303", node.key,
                  fmt::format("[{}] holds options of a {} that '{}' does not name", keys.full(name),
                              interface_word(interface_id), keys.full(key)),
                  "name it there, or remove the table");
    }
  }

  // ---- formats
  // -----------------------------------------------------------------------------------

  void read_formats(const Node& table) {
    for (const auto& [id, node] : table.members) {
      if (!node.is_table()) {
        schema_.add(
            "E102", node.origin,
            fmt::format("expected a table for 'format.{}', found {}", id, kind_name(node.kind)));
        continue;
      }
      if (id == "none") {
        schema_.add("E104", node.key, "a format cannot have the id 'none'", "choose another id");
      }
      Keys keys(node, fmt::format("format.{}", id), schema_);
      const PlacedText use = keys.required_text("use");
      Format format{id, use, {}, node.key};
      // Listed before it is looked up, so that a rule's reference to it is no second finding.
      recipe_.formats.push_back(format);
      if (use.value.empty()) continue;
      if (const auto schema = component(MOPT_QUANTIZER_INTERFACE, use, "quantizer")) {
        recipe_.formats.back().options = options(&node, *schema, node.key, {"use"});
      }
    }
  }

  // Makes sure that recipe.format(name) finds it.
  void use_format(const PlacedText& name) {
    if (name.value.empty() || name.value == "none") return;
    if (recipe_.format(name.value) != nullptr) return;
    const auto schema = component(MOPT_QUANTIZER_INTERFACE, name, "format");
    if (!schema) return;
    recipe_.formats.push_back(
        {name.value, {name.value, {}}, options(nullptr, *schema, name.origin), {}});
  }

  // ---- sections
  // ----------------------------------------------------------------------------------

  void read_model(const Node* table) {
    const Node none;
    Keys keys(table != nullptr ? *table : none, "model", schema_);
    recipe_.model.path = keys.text("path");
    recipe_.model.adapter = keys.text("adapter", "auto");
    keys.finish();
    const PlacedText& adapter = recipe_.model.adapter;
    if (adapter.value == "auto" || adapter.value == "none") return;
    component(MOPT_ADAPTER_INTERFACE, adapter, "adapter");
  }

  void read_calibration(const Node& table) {
    Keys keys(table, "calibration", schema_);
    Calibration c;
    c.origin = table.key;
    c.data = keys.texts("data");
    if (table.find("data") == nullptr) {
      keys.missing("data", "write data = \"self\", or a file");
    }
    c.samples = keys.integer("samples", {1, kMostRows}, 512);
    c.seq_len = keys.integer("seq_len", {1, kMostTokens}, 512);
    c.seed = keys.integer("seed", {0, INT64_MAX}, 1234);
    keys.finish();
    for (const PlacedText& data : c.data) {
      if (data.value.empty()) schema_.add("E104", data.origin, "'calibration.data' is empty");
      if (data.value == "self" && c.data.size() > 1) {
        schema_.add("E303", data.origin, "'self' cannot be mixed with other data",
                    "give files only, or \"self\" alone");
      }
    }
    recipe_.calibration = std::move(c);
  }

  Selector read_selector(Keys& keys) {
    Selector s;
    s.origin = keys.node().key;
    s.id = keys.required_text("id").value;
    s.roles = keys.texts("role");
    s.names = keys.texts("name");
    s.layers = keys.text("layers");
    s.optional = keys.flag("optional");
    s.expect = read_expect(keys);
    const auto given = [&](std::string_view key) { return keys.node().find(key) != nullptr; };
    if (!given("role") && !given("name") && !given("layers")) {
      schema_.add("E106", s.origin, fmt::format("rule '{}' says nothing about which tensors", s.id),
                  "give it role, name or layers");
    }
    check_patterns(s);
    return s;
  }

  std::optional<Expect> read_expect(Keys& keys) {
    const Node* node = keys.take("expect");
    if (node == nullptr) return std::nullopt;
    if (node->kind == Node::Kind::kText && node->text == "all") return Expect{{}, node->origin};
    if (node->kind == Node::Kind::kInt && node->integer > 0) {
      return Expect{node->integer, node->origin};
    }
    const bool typed = node->kind == Node::Kind::kInt || node->kind == Node::Kind::kText;
    schema_.add(typed ? "E104" : "E102", node->origin,
                fmt::format("'{}' must be a count above zero or \"all\"", keys.full("expect")));
    return std::nullopt;
  }

  void check_patterns(const Selector& s) {
    for (const PlacedText& role : s.roles) {
      const std::string fault = role_fault(role.value);
      if (!fault.empty()) {
        references_.add("E207", role.origin, fmt::format("unknown role '{}'", role.value), fault);
      }
    }
    for (const PlacedText& name : s.names) {
      const std::string fault = pattern_fault(name.value);
      if (!fault.empty()) {
        references_.add("E207", name.origin, fmt::format("bad pattern '{}': {}", name.value, fault),
                        "write dotted segments with * or a ** of its own");
      }
    }
    if (!s.layers || s.layers->value.empty()) return;
    try {
      Layers(s.layers->value);
    } catch (const Failure& failure) {
      const Diagnostic& d = failure.diagnostics()[0];
      references_.add(d.code, s.layers->origin, d.message, d.remedy);
    }
  }

  void read_quantize(const Node& table) {
    Keys keys(table, "quantize", schema_);
    Quantize q;
    q.origin = table.key;
    for (const Node* node : keys.tables("rule"))
      q.rules.push_back(read_rule(*node));
    q.kv_cache = keys.text("kv_cache", "none");
    use_format(q.kv_cache);
    q.algorithms = read_algorithms(keys);
    keys.finish();
    recipe_.quantize = std::move(q);
  }

  std::vector<AppliedComponent> read_algorithms(Keys& keys) {
    std::vector<PlacedText> names = keys.texts("algorithm");
    // The default needs no plugin until something has to be calibrated.
    const bool given = keys.node().find("algorithm") != nullptr;
    if (!given && catalogue_.find(MOPT_CALIBRATOR_INTERFACE, "max")) names = {{"max", {}}};
    std::vector<AppliedComponent> out;
    std::vector<std::string> used;
    for (const PlacedText& name : names) {
      if (name.value == "none" && names.size() == 1) break;
      if (std::ranges::find(used, name.value) != used.end()) {
        schema_.add("E303", name.origin, fmt::format("calibrator '{}' is named twice", name.value),
                    "name it once");
        continue;
      }
      used.push_back(name.value);
      out.push_back(applied(MOPT_CALIBRATOR_INTERFACE, name, keys, "calibrator"));
    }
    refuse_unused(keys, MOPT_CALIBRATOR_INTERFACE, "algorithm", used);
    return out;
  }

  QuantizeRule read_rule(const Node& node) {
    Keys keys(node, "quantize.rule", schema_);
    QuantizeRule rule;
    rule.select = read_selector(keys);
    rule.weight = keys.required_text("weight");
    rule.input = keys.text("input", "none");
    keys.finish();
    use_format(rule.weight);
    use_format(rule.input);
    if (rule.weight.value == "none" && rule.input.value != "none") {
      references_.add("E303", rule.input.origin,
                      fmt::format("rule '{}' quantizes the input of weights that stay as they are",
                                  rule.select.id),
                      "give it a weight format, or input = \"none\"");
    }
    return rule;
  }

  void read_sparsify(const Node& table) {
    Keys keys(table, "sparsify", schema_);
    Sparsify s;
    s.origin = table.key;
    const PlacedText use = keys.required_text("use");
    for (const Node* node : keys.tables("rule")) {
      Keys rule(*node, "sparsify.rule", schema_);
      s.rules.push_back(read_selector(rule));
      rule.finish();
    }
    if (s.rules.empty()) keys.missing("rule", "say with [[sparsify.rule]] which weights");
    if (!use.value.empty()) {
      s.pruner = applied(MOPT_PRUNER_INTERFACE, use, keys, "pruner");
      refuse_unused(keys, MOPT_PRUNER_INTERFACE, "use", {use.value});
    }
    keys.finish();
    recipe_.sparsify = std::move(s);
  }

  void read_export(const Node* table) {
    const Node none;
    Keys keys(table != nullptr ? *table : none, "export", schema_);
    Export& e = recipe_.output;
    e.path = keys.text("path");
    e.shard_gb = keys.positive("shard_gb").value_or(Placed<double>{5.0, {}});
    const PlacedText layout = keys.text("layout", "hf");
    e.layout = applied(MOPT_EXPORTER_INTERFACE, layout, keys, "exporter");
    refuse_unused(keys, MOPT_EXPORTER_INTERFACE, "layout", {layout.value});
    keys.finish();
  }

  void read_eval(const Node& table) {
    Keys keys(table, "eval", schema_);
    Eval e;
    e.origin = table.key;
    e.id = keys.required_text("id").value;
    e.kind = keys.required_text("kind");
    e.data = keys.required_text("data");
    e.window = keys.integer("window", {2, kMostTokens}, 512);
    e.max_tokens = keys.integer("max_tokens", {1, INT64_MAX});
    e.max_ratio = keys.positive("max_ratio");
    keys.finish();
    if (!e.kind.value.empty() && e.kind.value != "perplexity") {
      references_.add("E203", e.kind.origin, fmt::format("unknown evaluator '{}'", e.kind.value),
                      "this version has 'perplexity'");
    }
    recipe_.evals.push_back(std::move(e));
  }

  void read_verify(const Node& table) {
    Keys keys(table, "verify", schema_);
    recipe_.verify_engines = keys.texts("engines");
    keys.finish();
    const std::vector<std::string> known = to_strings(kEngines);
    for (const PlacedText& engine : recipe_.verify_engines) {
      if (std::ranges::find(known, engine.value) != known.end()) continue;
      schema_.add("E104", engine.origin,
                  fmt::format("engine '{}' is not one of {}", engine.value, list_names(known)),
                  suggest(engine.value, known, "", ""));
    }
  }

  const Catalogue& catalogue_;
  Findings& schema_;
  Findings references_;
  Recipe recipe_;
};

}  // namespace

const Format* Recipe::format(std::string_view id) const {
  const auto found = std::ranges::find_if(formats, [&](const Format& f) { return f.id == id; });
  return found == formats.end() ? nullptr : &*found;
}

Recipe load_recipe(const RecipeRequest& request, const Catalogue& catalogue) {
  Findings schema;
  const Node root = read_recipe(request, schema);
  return Builder(catalogue, schema).build(root, find_recipe(request).string());
}

}  // namespace mopt
