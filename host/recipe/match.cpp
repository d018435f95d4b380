#include "host/recipe/match.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "host/recipe/tree.hpp"

namespace mopt {
namespace {

struct Role {
  std::string_view name, text;
};

constexpr std::string_view kCopied = " Copied unless a rule names this role exactly.";

constexpr std::array kRoles = {
    Role{"embed", "The table of token embeddings."},
    Role{"lm_head", "The last projection, from the hidden state to the vocabulary."},
    Role{"norm", "Weights of normalizations."},
    Role{"attn.q", "Attention: the query projection."},
    Role{"attn.k", "Attention: the key projection; its output goes into the KV cache."},
    Role{"attn.v", "Attention: the value projection; its output goes into the KV cache."},
    Role{"attn.qkv", "Attention: query, key and value projections stored as one matrix."},
    Role{"attn.o", "Attention: the output projection."},
    Role{"attn.kv_down", "Latent attention: the projection down to the compressed KV."},
    Role{"attn.kv_up", "Latent attention: the projection from the compressed KV up to heads."},
    Role{"attn.q_down", "Latent attention: the projection down to the compressed query."},
    Role{"attn.q_up", "Latent attention: the projection from the compressed query up to heads."},
    Role{"mlp.gate",
         "Dense feed-forward: the projection that goes through the activation function."},
    Role{"mlp.up", "Dense feed-forward: the projection up."},
    Role{"mlp.down", "Dense feed-forward: the projection back to the hidden size."},
    Role{"moe.router", "Mixture of experts: the router that chooses experts."},
    Role{"moe.expert.gate", "Mixture of experts: an expert's gate projection."},
    Role{"moe.expert.up", "Mixture of experts: an expert's up projection."},
    Role{"moe.expert.down", "Mixture of experts: an expert's down projection."},
    Role{"moe.shared.gate", "Mixture of experts: the gate projection of the shared expert."},
    Role{"moe.shared.up", "Mixture of experts: the up projection of the shared expert."},
    Role{"moe.shared.down", "Mixture of experts: the down projection of the shared expert."},
    Role{"moe.latent", "Mixture of experts: projections into and out of the experts' latent size."},
    Role{"mamba.in", "State-space layer: the input projection."},
    Role{"mamba.out", "State-space layer: the output projection."},
    Role{"mamba.conv", "State-space layer: the short convolution."},
    Role{"linear_attn.*",
         "Projections of a linear-attention layer; its convolution is linear_attn.conv."},
    Role{"mtp.*", "The head that predicts several tokens; the role of its layers follows the dot."},
    Role{"vision.*", "The vision tower."},
    Role{"projector", "The projector from a vision or audio tower into the language model."},
    Role{"kv_cache", "Keys and values kept for later tokens; [quantize] kv_cache is about them."},
    Role{"other", "A tensor that the adapter gives no role, or every tensor without an adapter."},
};

constexpr auto kRoleNames = [] {
  std::array<std::string_view, kRoles.size()> names{};
  for (size_t i = 0; i < names.size(); ++i)
    names[i] = kRoles[i].name;
  return names;
}();

// True when `pattern` is "prefix.*" and `role` lies below that prefix.
bool below(std::string_view pattern, std::string_view role) {
  return pattern.ends_with(".*") && role.starts_with(pattern.substr(0, pattern.size() - 1));
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> out;
  out.reserve(static_cast<size_t>(std::ranges::count(text, separator)) + 1);
  for (;;) {
    const size_t at = text.find(separator);
    out.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return out;
    text.remove_prefix(at + 1);
  }
}

// '*' matches any characters. Linear but for the last star, to which it falls back.
bool glob(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0, star = std::string_view::npos, mark = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      mark = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++mark;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

using Segments = std::vector<std::string_view>;

// The same over segments, where "**" is the star.
bool match_segments(const Segments& pattern, const Segments& name) {
  size_t p = 0, t = 0, star = SIZE_MAX, mark = 0;
  while (t < name.size()) {
    if (p < pattern.size() && pattern[p] == "**") {
      star = p++;
      mark = t;
    } else if (p < pattern.size() && glob(pattern[p], name[t])) {
      ++p;
      ++t;
    } else if (star != SIZE_MAX) {
      p = star + 1;
      t = ++mark;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == "**")
    ++p;
  return p == pattern.size();
}

bool has_role(std::string_view role) {
  return !role.empty() && role != "other";
}

bool is_one_of(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::ranges::find(words, word) != words.end();
}

// Usual names of what is copied, for tensors without a role: ModelOpt's list of disabled quantizers
// (quant-formats 10.2) by segment, and embeddings and norms, which there fall out by class.
bool looks_copied(const Segments& name) {
  std::string_view before;
  for (const std::string_view segment : name) {
    const auto holds = [&](std::string_view part) {
      return segment.find(part) != std::string_view::npos;
    };
    if (holds("norm") || holds("embed") || holds("lm_head") || holds("router")) return true;
    if (segment.starts_with("ln_")) return true;
    if (is_one_of(segment,
                  {"output_layer", "conv1d", "mtp", "vision_tower", "vision_model", "visual", "wte",
                   "wpe", "multi_modal_projector", "shared_expert_gate"})) {
      return true;
    }
    if (segment == "gate" && is_one_of(before, {"mlp", "block_sparse_moe"})) return true;
    if (before == "linear_attn" && is_one_of(segment, {"in_proj_a", "in_proj_b"})) return true;
    before = segment;
  }
  return name[0] == "output";
}

bool copied_role(std::string_view role) {
  constexpr std::string_view kBelow[] = {"mtp.*", "vision.*"};
  if (is_one_of(role, {"norm", "embed", "moe.router", "lm_head", "mamba.conv", "linear_attn.conv",
                       "projector", "kv_cache", "mtp", "vision"})) {
    return true;
  }
  return std::ranges::any_of(kBelow, [&](std::string_view family) { return below(family, role); });
}

// With and without a trailing "weight".
bool matches_segments(const Segments& pattern, Segments& name) {
  if (match_segments(pattern, name)) return true;
  if (name.size() < 2 || name.back() != "weight") return false;
  name.pop_back();
  const bool matched = match_segments(pattern, name);
  name.push_back("weight");
  return matched;
}

Failure bad_layers(std::string_view text, const std::string& why) {
  return Failure(diagnose("E206", {}, fmt::format("bad layers '{}': {}", text, why),
                          "write numbers and ranges such as \"0-3,-1\""));
}

// Reads one number, with its sign, from the front of `text`.
std::optional<int> take_number(std::string_view& text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return value;
}

std::string_view trim(std::string_view text) {
  while (text.starts_with(' '))
    text.remove_prefix(1);
  while (text.ends_with(' '))
    text.remove_suffix(1);
  return text;
}

// A count of tensors, and the first of them for messages.
struct Names {
  static constexpr size_t kShown = 3;
  int64_t count = 0;
  std::vector<std::string> first;
  void add(std::string_view name) {
    ++count;
    if (first.size() < kShown) first.emplace_back(name);
  }
  std::string show() const {
    std::string out;
    for (const std::string& name : first)
      out += (out.empty() ? "" : ", ") + name;
    const int64_t rest = count - static_cast<int64_t>(first.size());
    return rest > 0 ? fmt::format("{} and {} more", out, rest) : out;
  }
};

// The tensors of a rule's roles: those that it covers, those that name and layers leave out.
struct Coverage {
  Names covered, left_out;
};

// "role attn.*, mlp.*", "name a.b" or both, as the rule says it.
std::string describe(const Selector& select) {
  std::string out;
  const auto add = [&](std::string_view word, const std::vector<PlacedText>& patterns) {
    if (patterns.empty()) return;
    if (!out.empty()) out += ", ";
    out += word;
    for (size_t i = 0; i < patterns.size(); ++i)
      out += (i == 0 ? " " : ", ") + patterns[i].value;
  };
  add("role", select.roles);
  add("name", select.names);
  if (select.layers) out += (out.empty() ? "layers " : ", layers ") + select.layers->value;
  return out;
}

std::optional<Diagnostic> judge(const Selector& select, const Coverage& found) {
  const int64_t count = found.covered.count;
  if (count == 0) {
    const bool optional = select.optional.value;
    return diagnose(
        optional ? "W113" : "E301", select.origin,
        fmt::format("rule '{}' ({}) matches nothing in this model", select.id, describe(select)),
        optional ? "" : "correct it, or write optional = true");
  }
  if (!select.expect) return std::nullopt;
  if (select.expect->count && *select.expect->count != count) {
    return diagnose("E302", select.expect->origin,
                    fmt::format("rule '{}' covers {} tensors, expected {} (first: {})", select.id,
                                count, *select.expect->count, found.covered.show()),
                    "correct the rule or its expect");
  }
  if (!select.expect->count && found.left_out.count > 0) {
    return diagnose("E302", select.expect->origin,
                    fmt::format("rule '{}' expects all tensors of its roles but leaves out {}",
                                select.id, found.left_out.show()),
                    "widen name and layers, or correct expect");
  }
  return std::nullopt;
}

}  // namespace

bool matches_name(std::string_view pattern, std::string_view tensor) {
  Segments name = split(tensor, '.');
  return matches_segments(split(pattern, '.'), name);
}

std::string pattern_fault(std::string_view pattern) {
  for (const std::string_view segment : split(pattern, '.')) {
    if (segment.empty()) return "a segment between dots is empty";
    if (segment != "**" && segment.find("**") != std::string_view::npos) {
      return "'**' must be a whole segment";
    }
  }
  return "";
}

bool matches_role(std::string_view pattern, std::string_view role) {
  return !role.empty() && (pattern == role || below(pattern, role));
}

std::string role_fault(std::string_view pattern) {
  std::vector<std::string> candidates;
  for (const Role& role : kRoles) {
    // "mtp.*" is open: any name below it may be a role.
    const bool open = role.name.ends_with(".*");
    if (pattern == role.name || below(pattern, role.name)) return "";
    if (open && below(role.name, pattern) && pattern.size() + 1 > role.name.size()) return "";
    candidates.emplace_back(role.name);
    const std::string family(role.name.substr(0, role.name.find('.')));
    if (family != role.name) candidates.push_back(family + ".*");
  }
  return suggest(pattern, candidates, "", "`mopt-host explain roles` lists them");
}

std::span<const std::string_view> all_roles() {
  return kRoleNames;
}

std::string_view explain_role(std::string_view name) {
  for (const Role& role : kRoles) {
    if (role.name == name || below(role.name, name)) return role.text;
  }
  return {};
}

bool copied_by_default(std::string_view role, std::string_view tensor) {
  return has_role(role) ? copied_role(role) : looks_copied(split(tensor, '.'));
}

Layers::Layers(std::string_view text) : text_(text) {
  for (const std::string_view part : split(text, ',')) {
    std::string_view rest = trim(part);
    const std::optional<int> first = take_number(rest);
    if (!first) throw bad_layers(text_, fmt::format("'{}' is no number", trim(part)));
    int last = *first;
    if (!rest.empty()) {
      if (rest[0] != '-') throw bad_layers(text_, fmt::format("unexpected '{}'", rest));
      rest.remove_prefix(1);
      const std::optional<int> end = take_number(rest);
      if (!end || !rest.empty()) {
        throw bad_layers(text_, fmt::format("'{}' is no range", trim(part)));
      }
      last = *end;
    }
    if ((*first < 0) == (last < 0) && last < *first) {
      throw bad_layers(text_, fmt::format("'{}' runs backwards", trim(part)));
    }
    ranges_.push_back({*first, last});
  }
}

std::vector<bool> Layers::resolve(int n) const {
  std::vector<bool> out(static_cast<size_t>(n));
  for (const Range& range : ranges_) {
    const int first = range.first < 0 ? n + range.first : range.first;
    const int last = range.last < 0 ? n + range.last : range.last;
    if (first < 0 || last < 0 || first >= n || last >= n) {
      throw bad_layers(text_, fmt::format("the model has {} layers, 0 to {}", n, n - 1));
    }
    if (last < first) {
      throw bad_layers(text_, fmt::format("it runs backwards for a model of {} layers", n));
    }
    for (int i = first; i <= last; ++i)
      out[static_cast<size_t>(i)] = true;
  }
  return out;
}

// What is asked about a tensor once, for all rules.
struct RuleSet::Facts {
  explicit Facts(const Subject& s)
      : subject(s), copied(has_role(s.role) ? copied_role(s.role) : looks_copied(segments())) {}
  // Split when it is asked for: most tensors are decided about by their roles.
  Segments& segments() const {
    if (segments_.empty()) segments_ = split(subject.name, '.');
    return segments_;
  }
  const Subject& subject;

 private:
  mutable Segments segments_;  // matches_segments puts back what it takes

 public:
  bool copied;
};

RuleSet::RuleSet(std::vector<const Selector*> selectors, int n_layers) {
  Findings problems;
  for (const Selector* select : selectors) {
    rules_.push_back({select, {}, {}});
    for (const PlacedText& name : select->names) {
      rules_.back().names.push_back(split(name.value, '.'));
    }
    if (!select->layers) continue;
    try {
      rules_.back().layers = Layers(select->layers->value).resolve(n_layers);
    } catch (const Failure& failure) {
      const Diagnostic& d = failure.diagnostics()[0];
      problems.add(d.code, select->layers->origin, d.message, d.remedy);
    }
  }
  problems.raise();
}

bool RuleSet::role_applies(const Rule& rule, const Facts& facts) {
  const std::vector<PlacedText>& roles = rule.select->roles;
  const std::string_view role = facts.subject.role;
  const auto exact = [&](const PlacedText& wanted) { return wanted.value == role; };
  if (!role.empty() && std::ranges::any_of(roles, exact)) return true;
  if (facts.copied) return false;
  const auto matching = [&](const PlacedText& wanted) { return matches_role(wanted.value, role); };
  return roles.empty() || std::ranges::any_of(roles, matching);
}

bool RuleSet::place_applies(const Rule& rule, const Facts& facts) {
  const auto named = [&](const Segments& pattern) {
    return matches_segments(pattern, facts.segments());
  };
  if (!rule.names.empty() && std::ranges::none_of(rule.names, named)) return false;
  if (!rule.select->layers) return true;
  const int layer = facts.subject.layer;
  return layer >= 0 && static_cast<size_t>(layer) < rule.layers.size() &&
         rule.layers[static_cast<size_t>(layer)];
}

bool RuleSet::covers(size_t index, const Subject& subject) const {
  const Facts facts(subject);
  return role_applies(rules_[index], facts) && place_applies(rules_[index], facts);
}

std::optional<size_t> RuleSet::decide(const Subject& subject) const {
  const Facts facts(subject);
  for (size_t i = rules_.size(); i-- > 0;) {
    if (role_applies(rules_[i], facts) && place_applies(rules_[i], facts)) return i;
  }
  return std::nullopt;
}

std::vector<Diagnostic> RuleSet::check(std::span<const Subject> subjects) const {
  std::vector<Coverage> coverage(rules_.size());
  for (const Subject& subject : subjects) {
    const Facts facts(subject);
    for (size_t i = 0; i < rules_.size(); ++i) {
      if (!role_applies(rules_[i], facts)) continue;
      (place_applies(rules_[i], facts) ? coverage[i].covered : coverage[i].left_out)
          .add(subject.name);
    }
  }
  std::vector<Diagnostic> out;
  for (size_t i = 0; i < rules_.size(); ++i) {
    if (auto fault = judge(*rules_[i].select, coverage[i])) out.push_back(std::move(*fault));
  }
  return out;
}

RuleSet rules_of(const Quantize& quantize, int n_layers) {
  std::vector<const Selector*> selectors;
  for (const QuantizeRule& rule : quantize.rules)
    selectors.push_back(&rule.select);
  return {std::move(selectors), n_layers};
}

RuleSet rules_of(const Sparsify& sparsify, int n_layers) {
  std::vector<const Selector*> selectors;
  for (const Selector& select : sparsify.rules)
    selectors.push_back(&select);
  return {std::move(selectors), n_layers};
}

}  // namespace mopt
