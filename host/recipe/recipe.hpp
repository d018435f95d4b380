// A resolved recipe: every value typed, checked and with the place that it came from; and how one
// is loaded and printed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "host/recipe/diagnostic.hpp"
#include "mopt/plugin.h"

namespace mopt {

// Where a value was written. file is empty for a default, "--set a.b" or "--model" for the command
// line; line and column count from 1.
struct Origin {
  std::string file;
  int line = 0, column = 0;
  bool is_default() const { return file.empty(); }
};
std::string to_string(const Origin&);  // "q.toml:14:1", "--set a.b", "default"

template <class T>
struct Placed {
  T value{};
  Origin origin;
};
using PlacedText = Placed<std::string>;

// ---- options of components
// -----------------------------------------------------------------------

// monostate: an option without default that was not given.
using OptionValue = std::variant<std::monostate, bool, int64_t, double, std::string>;

struct OptionSetting {
  std::string name;
  OptionValue value;
  Origin origin;
};

// Every option that a component declares, in its order, defaults filled in.
struct OptionSet {
  std::vector<OptionSetting> values;
  // For a component's create; borrows from this set.
  std::vector<mopt_setting> settings() const;
};

// What a recipe may say about a component; given by whoever loads plugins. `options` lives as long
// as the plugin.
struct ComponentSchema {
  std::string name, interface_id, summary, plugin_file;
  std::span<const mopt_option> options;
};

struct Catalogue {
  std::function<std::optional<ComponentSchema>(std::string_view interface_id,
                                               std::string_view name)>
      find;
  std::function<std::vector<std::string>(std::string_view interface_id)> names;
};

// The options of a component that nobody set. Throws Failure E106 when one is required.
OptionSet default_options(const ComponentSchema&);

// ---- the tables of a recipe
// ----------------------------------------------------------------------

struct ModelSource {
  std::optional<PlacedText> path;
  PlacedText adapter;  // "auto", "none" or a component
};

struct Calibration {
  std::vector<PlacedText> data;  // {"self"}, or paths, FILE:KEY for id files
  Placed<int64_t> samples, seq_len, seed;
  Origin origin;
};

// [format.ID]; also every quantizer that the recipe names directly, under its own name.
struct Format {
  std::string id;
  PlacedText use;  // a quantizer component
  OptionSet options;
  Origin origin;
};

struct Expect {
  std::optional<int64_t> count;  // absent: "all" tensors that have the rule's roles
  Origin origin;
};

// Which tensors a rule is about: those that match one of the roles (if any are given), one of the
// names (likewise) and the layers (likewise). match.hpp decides.
struct Selector {
  std::string id;
  std::vector<PlacedText> roles, names;
  std::optional<PlacedText> layers;
  Placed<bool> optional;
  std::optional<Expect> expect;
  Origin origin;  // the rule's table
};

struct QuantizeRule {
  Selector select;
  PlacedText weight, input;  // ids of formats, or "none"
};

struct AppliedComponent {
  PlacedText name;
  OptionSet options;
};

struct Quantize {
  std::vector<AppliedComponent> algorithms;  // calibrators, in the order they are applied
  PlacedText kv_cache;                       // id of a format, or "none"
  std::vector<QuantizeRule> rules;
  Origin origin;
};

// [sparsify]
// use = "magnitude"            # a pruner component
// [sparsify.magnitude]         # its options
// [[sparsify.rule]]            # which weights: id, role, name, layers, optional, expect as in
//                              # [[quantize.rule]]; a weight that no rule covers stays dense
struct Sparsify {
  AppliedComponent pruner;
  std::vector<Selector> rules;
  Origin origin;
};

struct Export {
  AppliedComponent layout;  // an exporter; its options stand in [export.<layout>]
  std::optional<PlacedText> path;
  Placed<double> shard_gb;
};

// kind "perplexity", the evaluator that is built in.
struct Eval {
  std::string id;
  PlacedText kind, data;
  Placed<int64_t> window;                     // tokens
  std::optional<Placed<int64_t>> max_tokens;  // absent: all of the data
  std::optional<Placed<double>> max_ratio;    // against the source; absent: no gate
  Origin origin;
};

struct Recipe {
  std::string file;  // as chosen; printed with the plan
  PlacedText name, description;
  ModelSource model;
  std::optional<Calibration> calibration;
  std::vector<Format> formats;
  std::optional<Quantize> quantize;
  std::optional<Sparsify> sparsify;
  Export output;
  std::vector<Eval> evals;
  std::vector<PlacedText> verify_engines;
  std::vector<Diagnostic> warnings;

  // NULL for "none".
  const Format* format(std::string_view id) const;
};

// ---- loading
// -------------------------------------------------------------------------------------

// A value of the command line that has an option of its own: {"model.path", "/m", "--model"}.
struct Override {
  std::string key, value, place;
};

struct RecipeRequest {
  std::string name;               // bare name: the library; anything with '/' or ".toml": a path
  std::vector<std::string> sets;  // "a.b=value", applied last and in order
  std::filesystem::path library;  // <prefix>/share/mopt/recipes
  std::string model_type;         // of the model's config.json; may be empty
  std::vector<Override> overrides;
};

// Throws Failure with all diagnostics of the first stage that has some (syntax, schema,
// references).
Recipe load_recipe(const RecipeRequest&, const Catalogue&);

// The file that a request means; throws Failure E205 with the near names.
std::filesystem::path find_recipe(const RecipeRequest&);

// model.path as load_recipe would resolve it, without looking at any component: needed to learn the
// model_type before the recipe is looked up. Empty when the recipe says none.
std::string peek_model_path(const RecipeRequest&);

// Names that --recipe takes: general/, and models/<model_type>/ for a model.
std::vector<std::string> library_names(const std::filesystem::path& library,
                                       std::string_view model_type);

enum class Origins { kComment, kOmit };

// TOML that loads to the same recipe. With kOmit it depends on nothing but the recipe's content.
std::string print_resolved(const Recipe&, Origins = Origins::kComment);

}  // namespace mopt
