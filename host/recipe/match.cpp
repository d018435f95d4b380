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

// Usual names of what is copied, for tensors without a role: ModelOpt's list of disabled quantizers
// (quant-formats 10.2) by segment, and embeddings and norms, which there fall out by class.
bool looks_copied(std::string_view tensor) {
  constexpr std::string_view kAnywhere[] = {"*norm*",
                                            "*embed*",
                                            "*lm_head*",
                                            "output_layer",
                                            "*router*",
                                            "conv1d",
                                            "mtp",
                                            "vision_tower",
                                            "vision_model",
                                            "visual",
                                            "wte",
                                            "wpe",
                                            "multi_modal_projector",
                                            "shared_expert_gate"};
  constexpr std::string_view kWhole[] = {
      "**.block_sparse_moe.gate", "**.mlp.gate", "**.linear_attn.in_proj_a",
      "**.linear_attn.in_proj_b", "**.ln_*",     "output"};
  for (const std::string_view segment : split(tensor, '.')) {
    for (const std::string_view pattern : kAnywhere) {
      if (glob(pattern, segment)) return true;
    }
  }
  return std::ranges::any_of(kWhole, [&](auto pattern) { return matches_name(pattern, tensor); });
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

std::string first_names(const std::vector<std::string>& names) {
  constexpr size_t kShown = 3;
  std::vector<std::string> shown(
      names.begin(), names.begin() + static_cast<std::ptrdiff_t>(std::min(kShown, names.size())));
  const std::string rest =
      names.size() > kShown ? fmt::format(" and {} more", names.size() - kShown) : "";
  std::string out;
  for (const std::string& name : shown)
    out += (out.empty() ? "" : ", ") + name;
  return out + rest;
}

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

}  // namespace

bool matches_name(std::string_view pattern, std::string_view tensor) {
  constexpr std::string_view kWeight = ".weight";
  const Segments wanted = split(pattern, '.');
  if (match_segments(wanted, split(tensor, '.'))) return true;
  if (!tensor.ends_with(kWeight)) return false;
  tensor.remove_suffix(kWeight.size());
  return match_segments(wanted, split(tensor, '.'));
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
  constexpr std::string_view kExact[] = {"norm",      "embed",      "moe.router",
                                         "lm_head",   "mamba.conv", "linear_attn.conv",
                                         "projector", "kv_cache"};
  constexpr std::string_view kBelow[] = {"mtp.*", "vision.*"};
  if (!has_role(role)) return looks_copied(tensor);
  if (std::ranges::find(kExact, role) != std::end(kExact)) return true;
  return std::ranges::any_of(kBelow, [&](std::string_view family) {
    return below(family, role) || role == family.substr(0, family.size() - 2);
  });
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

RuleSet::RuleSet(std::vector<const Selector*> selectors, int n_layers) {
  Findings problems;
  for (const Selector* select : selectors) {
    rules_.push_back({select, {}});
    if (!select->layers) continue;
    try {
      rules_.back().layers = Layers(select->layers->value).resolve(n_layers);
    } catch (const Failure& failure) {
      for (Diagnostic d : failure.diagnostics()) {
        const Origin& at = select->layers->origin;
        d.file = at.file;
        d.line = at.line;
        d.column = at.column;
        problems.add(std::move(d));
      }
    }
  }
  problems.raise();
}

bool RuleSet::role_applies(const Selector& select, const Subject& subject) const {
  const bool exact = std::ranges::any_of(
      select.roles, [&](const PlacedText& role) { return role.value == subject.role; });
  if (exact && !subject.role.empty()) return true;
  if (copied_by_default(subject.role, subject.name)) return false;
  if (select.roles.empty()) return true;
  return std::ranges::any_of(
      select.roles, [&](const PlacedText& role) { return matches_role(role.value, subject.role); });
}

bool RuleSet::covers(size_t index, const Subject& subject) const {
  const Rule& rule = rules_[index];
  if (!role_applies(*rule.select, subject)) return false;
  const auto named = [&](const PlacedText& name) { return matches_name(name.value, subject.name); };
  if (!rule.select->names.empty() && std::ranges::none_of(rule.select->names, named)) return false;
  if (!rule.select->layers) return true;
  const auto layer = static_cast<size_t>(subject.layer);
  return subject.layer >= 0 && layer < rule.layers.size() && rule.layers[layer];
}

std::optional<size_t> RuleSet::decide(const Subject& subject) const {
  for (size_t i = rules_.size(); i-- > 0;) {
    if (covers(i, subject)) return i;
  }
  return std::nullopt;
}

std::vector<Diagnostic> RuleSet::check(std::span<const Subject> subjects) const {
  std::vector<Diagnostic> out;
  for (size_t i = 0; i < rules_.size(); ++i) {
    const Selector& select = *rules_[i].select;
    std::vector<std::string> covered, left_out;
    for (const Subject& subject : subjects) {
      if (covers(i, subject)) {
        covered.emplace_back(subject.name);
      } else if (role_applies(select, subject)) {
        left_out.emplace_back(subject.name);
      }
    }
    const auto count = static_cast<int64_t>(covered.size());
    if (count == 0) {
      const bool optional = select.optional.value;
      out.push_back(diagnose(
          optional ? "W113" : "E301", select.origin,
          fmt::format("rule '{}' ({}) matches nothing in this model", select.id, describe(select)),
          optional ? "" : "correct it, or write optional = true"));
    } else if (select.expect && select.expect->count && *select.expect->count != count) {
      out.push_back(
          diagnose("E302", select.expect->origin,
                   fmt::format("rule '{}' covers {} tensors, expected {} (first: {})", select.id,
                               count, *select.expect->count, first_names(covered)),
                   "correct the rule or its expect"));
    } else if (select.expect && !select.expect->count && !left_out.empty()) {
      out.push_back(
          diagnose("E302", select.expect->origin,
                   fmt::format("rule '{}' expects all tensors of its roles but leaves out {}",
                               select.id, first_names(left_out)),
                   "widen name and layers, or correct expect"));
    }
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
