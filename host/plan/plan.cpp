#include "host/plan/plan.hpp"

#include <algorithm>
#include <deque>
#include <unordered_map>

#include "host/plan/cost.hpp"
#include "host/plan/items.hpp"
#include "host/recipe/match.hpp"
#include "mopt/names.hpp"

namespace mopt::plan {
namespace {

using graph::Op;
using graph::OpKind;

// Collects what is wrong, so that a stage reports everything at once.
class Faults {
 public:
  void add(Diagnostic d) { found_.push_back(std::move(d)); }
  void add(std::string code, const Origin& place, std::string message, std::string remedy = {}) {
    found_.push_back({.code = std::move(code),
                      .file = place.file,
                      .line = place.line,
                      .column = place.column,
                      .message = std::move(message),
                      .remedy = std::move(remedy)});
  }
  void add_tensor(std::string code, std::string tensor, std::string message) {
    found_.push_back(
        {.code = std::move(code), .tensor = std::move(tensor), .message = std::move(message)});
  }
  void raise() {
    if (found_.empty()) return;
    throw Failure(std::move(found_));
  }

 private:
  std::vector<Diagnostic> found_;
};

int layer_count(const Plan& plan) {
  int count = 0;
  for (const Item& item : plan.items)
    count = std::max(count, item.layer + 1);
  return count;
}

Subject subject_of(const Item& item) {
  return {item.name, item.role, item.layer};
}

mopt_weight_view weight_view(const Item& item) {
  return {sizeof(mopt_weight_view), item.dtype, str(item.name), item.rows(), item.cols()};
}

bool stores_scale(const mopt_scheme& scheme) {
  return (scheme.flags & MOPT_SCHEME_DYNAMIC) == 0 ||
         (scheme.flags & MOPT_SCHEME_GLOBAL_SCALE) != 0;
}

class Planner {
 public:
  Planner(const PlanInput& in, Exporter& exporter, std::vector<Calibrator>& calibrators,
          Pruner* pruner)
      : in_(in), exporter_(exporter), calibrators_(calibrators), pruner_(pruner) {}

  Plan run() {
    list_items(in_, plan_);
    make_formats();
    apply_quantize();
    apply_sparsify();
    apply_kv_cache();
    check_evals();
    faults_.raise();
    check_groups();
    declare_parts();
    faults_.raise();
    list_sites();
    name_outputs();
    faults_.raise();
    ExportJob job;
    fill_export_job(job, plan_, in_.config);
    plan_.engines = exporter_.engines(job.abi);
    plan_.cost = estimate(in_, plan_);
    return std::move(plan_);
  }

 private:
  void make_formats();
  int format_index(const std::string& id) const;
  void apply_quantize();
  void check_operands();
  void list_effects();
  std::vector<Subject> subjects() const;
  void check_rules(const RuleSet&, std::span<const Subject>);
  void quantize_item(Item&, size_t rule);
  void add_untied_head(size_t rule);
  void apply_sparsify();
  void apply_kv_cache();
  void check_kv_cache(const Origin&);
  void check_evals();
  void check_groups();
  void declare_parts();
  void list_sites();
  void add_site(size_t item, mopt_operand, const mopt_scheme&, graph::ValueId, int block);
  void name_outputs();
  void check_names(size_t n);

  Parts shared(DeclList);
  Parts parts_of(const Item&);

  // What a rule does to the items that it decides about.
  struct Effect {
    int weight = kNoFormat, input = kNoFormat;
    std::string_view reason;
  };

  const PlanInput& in_;
  Exporter& exporter_;
  std::vector<Calibrator>& calibrators_;
  Pruner* pruner_;
  Plan plan_;
  Faults faults_;
  std::vector<Effect> effects_;     // of [[quantize.rule]]
  std::deque<Parts> recent_parts_;  // newest first
};

void Planner::make_formats() {
  for (const mopt::Format& f : in_.recipe.formats) {
    auto format = std::make_shared<Format>();
    format->id = f.id;
    const auto settings = f.options.settings();
    format->quantizer =
        Quantizer(in_.registry, in_.registry.find(MOPT_QUANTIZER_INTERFACE, f.use.value), settings);
    format->weight = format->quantizer.scheme(MOPT_OPERAND_WEIGHT);
    format->input = format->quantizer.scheme(MOPT_OPERAND_INPUT);
    format->kv = format->quantizer.scheme(MOPT_OPERAND_KV);
    plan_.formats.push_back(std::move(format));
  }
}

int Planner::format_index(const std::string& id) const {
  for (size_t i = 0; i < plan_.formats.size(); ++i) {
    if (plan_.formats[i]->id == id) return static_cast<int>(i);
  }
  return kNoFormat;
}

// A tied head stored apart, when a rule names it.
void Planner::add_untied_head(size_t decided) {
  const QuantizeRule& rule = in_.recipe.quantize->rules[decided];
  const auto logits = in_.graph->outputs.find("logits");
  const Op& op = in_.graph->ops[static_cast<size_t>(in_.graph->values[logits->second].producer)];
  const graph::Param* weight = op.kind == OpKind::kLinear ? in_.graph->param_of(op.in[1]) : nullptr;
  if (weight == nullptr || weight->role != "embed" || op.label.empty()) {
    faults_.add("E301", rule.select.origin,
                "rule '" + rule.select.id +
                    "' names the head, but this model ends in no projection of its own",
                "leave lm_head out of the rule");
    return;
  }
  const graph::Param& tied = *weight;
  Item head;
  head.name = op.label + ".weight";
  head.source = tied.name;
  head.kind = MOPT_PARAM_LINEAR;
  head.role = "lm_head";
  head.shape = tied.dims;
  head.dtype = in_.source.find(tied.name)->dtype;
  for (Item& item : plan_.items) {
    if (item.name == head.name) item.name += " (tied)";  // its bytes are the embedding's
  }
  quantize_item(head, decided);
  plan_.untied_head = true;
  plan_.warnings.push_back({.code = "W104",
                            .tensor = head.name,
                            .message = "rule '" + rule.select.id +
                                       "' quantizes the tied head; it is now stored "
                                       "apart from the embedding",
                            .severity = Severity::kWarning});
  Unit& unit = plan_.units[static_cast<size_t>(op.block)];
  unit.items.push_back(plan_.items.size());
  plan_.items.push_back(std::move(head));
}

void Planner::list_effects() {
  for (const QuantizeRule& rule : in_.recipe.quantize->rules) {
    const std::string name = "rule '" + rule.select.id + "'";
    if (rule.weight.value == "none") {
      effects_.push_back({kNoFormat, kNoFormat, plan_.reasons.keep(name + " keeps it")});
      continue;
    }
    Effect effect{format_index(rule.weight.value), kNoFormat, {}};
    if (rule.input.value != "none") effect.input = format_index(rule.input.value);
    effect.reason =
        plan_.reasons.keep(name + ": weight " + rule.weight.value +
                           (effect.input == kNoFormat ? "" : ", input " + rule.input.value));
    effects_.push_back(effect);
  }
}

void Planner::quantize_item(Item& item, size_t decided) {
  const QuantizeRule& rule = in_.recipe.quantize->rules[decided];
  const Effect& effect = effects_[decided];
  item.rule = rule.select.id;
  item.reason = effect.reason;
  if (rule.weight.value == "none") {
    if (rule.input.value != "none") {
      faults_.add("E306", rule.input.origin,
                  "input = '" + rule.input.value + "' needs a quantized weight",
                  "give weight a format too, or leave input out");
    }
    return;
  }
  item.outcome = Outcome::kQuantized;
  item.weight = effect.weight;
  item.input = effect.input;
}

// A format that a rule gives to weights or inputs serves them.
void Planner::check_operands() {
  for (const QuantizeRule& rule : in_.recipe.quantize->rules) {
    if (const int w = format_index(rule.weight.value);
        w != kNoFormat && !plan_.formats[static_cast<size_t>(w)]->weight) {
      faults_.add("E306", rule.weight.origin,
                  "format '" + rule.weight.value + "' cannot hold weights");
    }
    if (const int i = format_index(rule.input.value);
        i != kNoFormat && !plan_.formats[static_cast<size_t>(i)]->input) {
      faults_.add("E306", rule.input.origin,
                  "format '" + rule.input.value + "' does not serve inputs",
                  "use another format, or input = \"none\"");
    }
  }
  faults_.raise();
}

// What rules are about.
std::vector<Subject> Planner::subjects() const {
  std::vector<Subject> out;
  out.reserve(plan_.items.size() + 1);
  for (const Item& item : plan_.items) {
    if (item.kind != MOPT_PARAM_OTHER) out.push_back(subject_of(item));
  }
  return out;
}

void Planner::check_rules(const RuleSet& rules, std::span<const Subject> subjects) {
  for (Diagnostic& d : rules.check(subjects)) {
    if (d.severity == Severity::kWarning)
      plan_.warnings.push_back(std::move(d));
    else
      faults_.add(std::move(d));
  }
}

void Planner::apply_quantize() {
  if (!in_.recipe.quantize) return;
  check_operands();
  list_effects();
  const Quantize& quantize = *in_.recipe.quantize;
  const RuleSet rules = rules_of(quantize, layer_count(plan_));
  std::vector<Subject> about = subjects();
  // A tied head is a subject although the checkpoint stores no tensor for it.
  const bool has_head = std::any_of(plan_.items.begin(), plan_.items.end(), [](const Item& i) {
    return i.role == "lm_head" && i.outcome != Outcome::kDropped;
  });
  const Subject head{"lm_head.weight", "lm_head", -1};
  if (!has_head && in_.graph != nullptr) about.push_back(head);
  check_rules(rules, about);
  for (Item& item : plan_.items) {
    if (item.outcome == Outcome::kDropped) continue;
    const auto decided = rules.decide(subject_of(item));
    if (decided) quantize_item(item, *decided);
  }
  if (has_head || in_.graph == nullptr) return;
  if (const auto decided = rules.decide(head)) {
    if (quantize.rules[*decided].weight.value != "none") add_untied_head(*decided);
  }
}

void Planner::apply_sparsify() {
  if (!in_.recipe.sparsify) return;
  const RuleSet rules = rules_of(*in_.recipe.sparsify, layer_count(plan_));
  check_rules(rules, subjects());
  for (Item& item : plan_.items) {
    const auto decided = rules.decide(subject_of(item));
    if (!decided || item.outcome == Outcome::kDropped) continue;
    item.pruned = true;
    const std::string& id = in_.recipe.sparsify->rules[*decided].id;
    if (item.outcome == Outcome::kQuantized) continue;
    item.outcome = Outcome::kTransformed;
    item.rule = id;
    item.reason = plan_.reasons.keep("rule '" + id + "': pruned by " +
                                     in_.recipe.sparsify->pruner.name.value);
  }
}

void Planner::apply_kv_cache() {
  if (!in_.recipe.quantize || in_.recipe.quantize->kv_cache.value == "none") return;
  const PlacedText& kv = in_.recipe.quantize->kv_cache;
  const int index = format_index(kv.value);
  if (index == kNoFormat || !plan_.formats[static_cast<size_t>(index)]->kv) {
    faults_.add("E306", kv.origin, "format '" + kv.value + "' does not serve a KV cache",
                "use fp8, or \"none\"");
    return;
  }
  if (in_.graph == nullptr) {
    faults_.add("E304", kv.origin,
                "kv_cache needs a forward of the model, but adapter is \"none\"");
    return;
  }
  plan_.kv = index;
  for (Item& item : plan_.items) {
    if (item.kind == MOPT_PARAM_LINEAR && (item.role == "attn.k" || item.role == "attn.v"))
      item.kv = index;
  }
  check_kv_cache(kv.origin);
}

// A layer whose keys and values no parameter of their own produces would be left out silently.
void Planner::check_kv_cache(const Origin& place) {
  for (const Op& op : in_.graph->ops) {
    if (op.kind != OpKind::kAttention) continue;
    const graph::Block& block = in_.graph->blocks[static_cast<size_t>(op.block)];
    const auto has = [&](std::string_view role) {
      return std::any_of(block.params.begin(), block.params.end(), [&](int p) {
        return in_.graph->params[static_cast<size_t>(p)].role == role;
      });
    };
    if (has("attn.k") && has("attn.v")) continue;
    return faults_.add("E306", place,
                       "kv_cache needs projections of role attn.k and attn.v, but block " +
                           block.name() + " has none",
                       "write kv_cache = \"none\"");
  }
}

void Planner::check_evals() {
  if (in_.recipe.evals.empty() || in_.graph != nullptr) return;
  faults_.add("E303", in_.recipe.evals[0].origin,
              "[[eval]] needs a forward of the model, but adapter is \"none\"",
              "leave [[eval]] out, or name an adapter");
}

// Engines merge a group's weights into one: what they cannot merge is found here, not there.
void Planner::check_groups() {
  const auto what = [](const Item& item) {
    return item.reason.empty() ? std::string("copied") : std::string(item.reason);
  };
  NameTable groups(plan_.items.size());
  std::vector<const Item*> first;  // by the group's number
  for (const Item& item : plan_.items) {
    if (item.fuse_group.empty() || item.kind != MOPT_PARAM_LINEAR) continue;
    const auto group = groups.add(item.fuse_group);
    if (!group) {
      first.push_back(&item);
      continue;
    }
    const Item& other = *first[*group];
    if (other.weight == item.weight && other.input == item.input) continue;
    faults_.add({.code = "E305",
                 .tensor = item.name,
                 .message = "it is " + what(item) + ", but " + other.name +
                            ", with which engines merge it, is " + what(other),
                 .remedy = "give all of " + item.fuse_group + " one format"});
  }
}

// A list that one of the latest items has too is stored once.
Parts Planner::shared(DeclList list) {
  constexpr size_t kRemembered = 16;  // a layer has fewer different shapes
  for (const Parts& parts : recent_parts_) {
    if (parts.list() == list) return parts;
  }
  if (recent_parts_.size() == kRemembered) recent_parts_.pop_back();
  return recent_parts_.emplace_front(std::move(list));
}

Parts Planner::parts_of(const Item& item) {
  const mopt_weight_view view = weight_view(item);
  if ((item.pruned || item.outcome == Outcome::kQuantized) && item.shape.size() != 2) {
    throw Error(MOPT_UNSUPPORTED, "expected a matrix, found shape " + shape_text(item.shape) +
                                      "; exclude it with a rule");
  }
  if (item.pruned) pruner_->plan(view);
  DeclList list;
  const auto add = [&](std::string_view role, DLDataType dtype, std::span<const int64_t> shape) {
    list.append(to_abi(DeclView{role, dtype, shape}));
  };
  if (item.outcome == Outcome::kQuantized) {
    list = plan_.formats[static_cast<size_t>(item.weight)]->quantizer.plan(view);
  } else {
    add("weight", item.dtype, item.shape);
  }
  if (item.input != kNoFormat &&
      stores_scale(*plan_.formats[static_cast<size_t>(item.input)]->input)) {
    add(MOPT_ROLE_INPUT_SCALE, kF32, {});
  }
  if (item.kv != kNoFormat) {
    add(item.role == "attn.k" ? MOPT_ROLE_K_SCALE : MOPT_ROLE_V_SCALE, kF32, {});
  }
  return shared(std::move(list));
}

void Planner::declare_parts() {
  for (Item& item : plan_.items) {
    if (item.outcome == Outcome::kDropped) continue;
    try {
      item.parts = parts_of(item);
    } catch (const Error& e) {
      faults_.add_tensor("M204", item.name, e.what());
    }
  }
}

void Planner::add_site(size_t index, mopt_operand operand, const mopt_scheme& scheme,
                       graph::ValueId value, int block) {
  const Item& item = plan_.items[index];
  Site site;
  const std::string module = item.name.substr(0, item.name.rfind('.'));
  site.name = module + (operand == MOPT_OPERAND_KV ? ":kv" : ":input");
  site.role = item.role;
  site.item = index;
  site.operand = operand;
  site.scheme = &scheme;
  site.value = value;
  site.block = block;
  site.channels = in_.graph->values[value].dims.back();
  const mopt_site abi{sizeof(mopt_site), operand, str(site.name),
                      str(site.role),    &scheme, site.channels};
  for (Calibrator& calibrator : calibrators_) {
    site.stats.push_back(calibrator.plan(abi));
    for (const std::string& stat : site.stats.back()) {
      if (stat == MOPT_STAT_ABSMAX) continue;
      faults_.add_tensor("M206", site.name,
                         "the calibrator wants the statistic '" + stat +
                             "', this host computes: " MOPT_STAT_ABSMAX);
    }
  }
  plan_.last_forward_block = std::max(plan_.last_forward_block, block);
  plan_.sites.push_back(std::move(site));
}

void Planner::list_sites() {
  const bool wanted = std::any_of(plan_.items.begin(), plan_.items.end(), [&](const Item& item) {
    return item.kv != kNoFormat ||
           (item.input != kNoFormat &&
            stores_scale(*plan_.formats[static_cast<size_t>(item.input)]->input));
  });
  if (!wanted) return;
  if (in_.graph == nullptr || !in_.recipe.calibration) {
    faults_.add("E304", in_.recipe.quantize->origin,
                in_.graph == nullptr
                    ? "static scales need a forward of the model, but adapter is \"none\""
                    : "static scales need calibration data, but the recipe has no [calibration]",
                "add [calibration] data = \"self\", or use a recipe whose inputs are dynamic or "
                "not quantized");
    faults_.raise();
  }
  std::unordered_map<std::string_view, size_t> by_name;
  for (size_t i = 0; i < plan_.items.size(); ++i)
    by_name[plan_.items[i].name] = i;
  for (const Op& op : in_.graph->ops) {
    if (op.kind == OpKind::kLinear) {
      // A head that was tied is an item under its own name.
      const auto item =
          by_name.find(plan_.untied_head && in_.graph->param_of(op.in[1])->role == "embed"
                           ? op.label + ".weight"
                           : in_.graph->param_of(op.in[1])->name);
      if (item == by_name.end()) continue;
      const int input = plan_.items[item->second].input;
      if (input == kNoFormat) continue;
      const mopt_scheme& scheme = *plan_.formats[static_cast<size_t>(input)]->input;
      if (stores_scale(scheme))
        add_site(item->second, MOPT_OPERAND_INPUT, scheme, op.in[0], op.block);
    }
    if (op.kind == OpKind::kAttention && plan_.kv != kNoFormat) {
      for (const int p : in_.graph->blocks[static_cast<size_t>(op.block)].params) {
        const graph::Param& param = in_.graph->params[static_cast<size_t>(p)];
        const size_t item = by_name.at(param.name);
        if (plan_.items[item].kv == kNoFormat) continue;
        add_site(item, MOPT_OPERAND_KV, *plan_.formats[static_cast<size_t>(plan_.kv)]->kv,
                 op.in[param.role == "attn.k" ? 1 : 2], op.block);
      }
    }
  }
}

void Planner::name_outputs() {
  size_t n = 0;
  for (Item& item : plan_.items) {
    if (item.outcome == Outcome::kDropped) continue;
    try {
      item.outputs = exporter_.plan(abi_param(plan_, item), item.parts.list());
      n += item.outputs.size();
    } catch (const Error& e) {
      faults_.add_tensor("M204", item.name, e.what());
    }
  }
  check_names(n);
}

// Every one of the n outputs has a name of its own.
void Planner::check_names(size_t n) {
  NameTable names(n);
  std::vector<const Item*> owners;  // by the name's number
  owners.reserve(n);
  for (size_t i = 0; i < plan_.items.size(); ++i) {
    const Item& item = plan_.items[i];
    if (i + NameTable::kAhead < plan_.items.size()) {
      for (const DeclView soon : plan_.items[i + NameTable::kAhead].outputs)
        names.prefetch(soon.name);
    }
    for (const DeclView out : item.outputs) {
      const auto taken = names.add(out.name);
      if (!taken) {
        owners.push_back(&item);
        continue;
      }
      faults_.add_tensor(
          "M204", std::string(out.name),
          "both " + owners[*taken]->name + " and " + item.name + " would be stored under it");
    }
  }
}

}  // namespace

std::vector<TensorDecl> Plan::outputs() const {
  std::vector<TensorDecl> all;
  for (const Unit& unit : units) {
    for (const size_t i : unit.items)
      for (const DeclView out : items[i].outputs)
        all.push_back(out);
  }
  return all;
}

std::vector<mopt_tensor_decl> Plan::declarations() const {
  size_t n = 0;
  for (const Item& item : items)
    n += item.outputs.size();
  std::vector<mopt_tensor_decl> all;
  all.reserve(n);
  for (const Unit& unit : units) {
    for (const size_t i : unit.items) {
      for (const DeclView out : items[i].outputs)
        all.push_back(to_abi(out));
    }
  }
  return all;
}

mopt_param abi_param(const Plan& plan, const Item& item) {
  const auto scheme = [&](int index,
                          std::optional<mopt_scheme> Format::*operand) -> const mopt_scheme* {
    return index == kNoFormat ? nullptr : &*((*plan.formats[static_cast<size_t>(index)]).*operand);
  };
  return {sizeof(mopt_param),
          item.kind,
          str(item.name),
          str(item.role),
          scheme(item.weight, &Format::weight),
          scheme(item.input, &Format::input),
          scheme(item.kv, &Format::kv),
          str(item.fuse_group)};
}

void fill_export_job(ExportJob& job, const Plan& plan, std::string_view config) {
  job.params.reserve(plan.items.size());
  for (const Item& item : plan.items) {
    if (item.outcome != Outcome::kDropped) job.params.push_back(abi_param(plan, item));
  }
  job.abi = {sizeof(mopt_export),
             0,
             str(config),
             job.params.data(),
             job.params.size(),
             plan.kv == kNoFormat ? nullptr : &*plan.formats[static_cast<size_t>(plan.kv)]->kv,
             plan.untied_head ? 1 : 0,
             0};
}

Plan make_plan(const PlanInput& in, Exporter& exporter, std::vector<Calibrator>& calibrators,
               Pruner* pruner) {
  return Planner(in, exporter, calibrators, pruner).run();
}

}  // namespace mopt::plan
