// Which rule decides about a tensor: roles, name patterns, layer ranges, and what is copied unless
// it is named.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "host/recipe/recipe.hpp"

namespace mopt {

// ---- names
// --------------------------------------------------------------------------------------- A pattern
// is matched segment by segment, where '.' separates. '*' stands for any characters of one segment,
// "**" as a whole segment for any number of segments, also none. "layers.1" never matches
// "layers.10". A pattern matches a tensor's name as it is, or without a trailing ".weight".
bool matches_name(std::string_view pattern, std::string_view tensor);
// Why a pattern is none; empty when it is one.
std::string pattern_fault(std::string_view pattern);

// ---- roles
// --------------------------------------------------------------------------------------- A role
// pattern is a role, or a prefix with ".*": "attn.*" matches "attn.q".
bool matches_role(std::string_view pattern, std::string_view role);
// Why a role pattern can never match, with a suggestion; empty when it can.
std::string role_fault(std::string_view pattern);
std::span<const std::string_view> all_roles();
// "mopt-host explain attn.q"; empty when there is no such role.
std::string_view explain_role(std::string_view role);

// Norms, embeddings, routers, lm_head, convolutions, MTP, vision and projector tensors: copied
// unless a rule names their role exactly. A tensor without a role ("" or "other": no adapter) is
// judged by the usual names of such tensors.
bool copied_by_default(std::string_view role, std::string_view tensor);

// ---- layers
// -------------------------------------------------------------------------------------- "0-3,-1":
// numbers and inclusive ranges from 0; negative ones count from the end.
class Layers {
 public:
  // Throws Failure E206 without a place when it is malformed or runs backwards.
  explicit Layers(std::string_view text);
  // Which of n layers. Throws Failure E206 for a number outside of the model.
  std::vector<bool> resolve(int n) const;

 private:
  struct Range {
    int first, last;
  };
  std::string text_;
  std::vector<Range> ranges_;
};

// ---- rules
// ---------------------------------------------------------------------------------------
struct Subject {
  std::string_view name;  // checkpoint name
  std::string_view role;  // empty when unknown
  int layer = -1;         // -1: of no layer
};

// Rules of one recipe against one model.
class RuleSet {
 public:
  // Borrows the selectors. Throws Failure with every E206 at its place.
  RuleSet(std::vector<const Selector*> selectors, int n_layers);
  // The last rule that covers the tensor; nullopt: it is copied.
  std::optional<size_t> decide(const Subject&) const;
  bool covers(size_t rule, const Subject&) const;
  // What E301, E302 and W113 have to say. `subjects` are the tensors that rules are about: weights
  // of linears, or every matrix when there is no adapter. A rule's count is of the tensors that it
  // covers, whether or not a later rule decides; "all" means every tensor of its roles.
  std::vector<Diagnostic> check(std::span<const Subject> subjects) const;

 private:
  struct Rule {
    const Selector* select;
    std::vector<std::vector<std::string_view>> names;  // patterns by segment
    std::vector<bool> layers;                          // of the model, when the rule names some
  };
  struct Facts;
  static bool role_applies(const Rule&, const Facts&);
  static bool place_applies(const Rule&, const Facts&);
  std::vector<Rule> rules_;
};
RuleSet rules_of(const Quantize&, int n_layers);
RuleSet rules_of(const Sparsify&, int n_layers);

}  // namespace mopt
