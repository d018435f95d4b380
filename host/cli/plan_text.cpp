#include "host/cli/plan_text.hpp"

#include <map>

#include "host/cli/engines_text.hpp"
#include "host/cli/layout.hpp"
#include "host/report/json.hpp"
#include "host/report/progress.hpp"
#include "host/report/report.hpp"

namespace mopt::cli {
namespace {

using pipeline::Prepared;

Fate fate_of(plan::Outcome outcome) {
  switch (outcome) {
    case plan::Outcome::kCopied:
      return Fate::kCopied;
    case plan::Outcome::kQuantized:
      return Fate::kQuantized;
    case plan::Outcome::kTransformed:
      return Fate::kTransformed;
    case plan::Outcome::kDropped:
      return Fate::kDropped;
  }
  return Fate::kCopied;
}

// "nvfp4, input fp8, kv fp8": the formats of the recipe.
std::string scheme_of(const plan::Plan& plan, const plan::Item& item) {
  std::string text;
  const auto add = [&](const char* operand, int format) {
    if (format == plan::kNoFormat) return;
    text += (text.empty() ? "" : ", ") + std::string(operand) +
            plan.formats[static_cast<size_t>(format)]->id;
  };
  add("", item.weight);
  add("input ", item.input);
  add("kv ", item.kv);
  return text;
}

bool same_formats(const plan::Item& a, const plan::Item& b) {
  return a.weight == b.weight && a.input == b.input && a.kv == b.kv;
}

std::vector<std::string> steps_of(const Prepared& p) {
  std::vector<std::string> steps;
  if (p.plan.needs_data()) steps.emplace_back("calibrate");
  if (p.pruner != nullptr) steps.emplace_back("sparsify");
  if (p.recipe.quantize) steps.emplace_back("quantize");
  steps.emplace_back("export");
  steps.emplace_back("verify");
  if (!p.recipe.evals.empty()) steps.emplace_back("eval");
  return steps;
}

std::vector<Diagnostic> warnings_of(const Prepared& p) {
  std::vector<Diagnostic> all = p.recipe.warnings;
  all.insert(all.end(), p.plan.warnings.begin(), p.plan.warnings.end());
  return all;
}

std::string recipe_name(const Prepared& p) {
  return p.recipe.name.value.empty() ? p.recipe.file : p.recipe.name.value;
}

void add_tensors(JsonPage& page, const Prepared& p) {
  constexpr size_t kRestOfRow = 100;  // keys, fate and scheme
  size_t bytes = 0;
  for (const plan::Item& item : p.plan.items)
    bytes += item.name.size() + item.rule.size() + item.reason.size() + kRestOfRow;
  page.reserve(bytes);
  page.open_rows("tensors");
  std::string scheme;
  const plan::Item* last = nullptr;
  for (const plan::Item& item : p.plan.items) {
    page.open_row();
    page.text("name", item.name);
    page.text("fate", fate_name(fate_of(item.outcome)));
    if (last == nullptr || !same_formats(*last, item)) scheme = scheme_of(p.plan, item);
    last = &item;
    page.text_or_null("scheme", scheme);
    page.text_or_null("rule", item.rule);
    page.text("reason", item.reason);
    page.close_row();
  }
  page.close_rows();
}

void add_engines(JsonPage& page, const std::vector<EngineVerdict>& engines) {
  page.open_rows("engines");
  for (const EngineVerdict& e : engines) {
    page.open_row();
    page.text("name", e.engine);
    page.text("verdict", e.verdict);
    page.text("reason", e.reason);
    page.close_row();
  }
  page.close_rows();
}

// Tensors that share fate, scheme and rule.
struct Group {
  size_t tensors = 0;
  uint64_t before = 0, after = 0;
};

using Groups = std::map<std::array<std::string, 3>, Group>;

// Finds the group of an item without making its texts: there are few groups and many items.
class Grouping {
 public:
  explicit Grouping(const plan::Plan& plan) : plan_(plan) {}
  Group& of(const plan::Item& item) {
    for (const auto& [first, group] : known_) {
      if (alike(*first, item)) return *group;
    }
    Group& group =
        groups_[{std::string(fate_name(fate_of(item.outcome))), scheme_of(plan_, item), item.rule}];
    known_.emplace_back(&item, &group);
    return group;
  }
  const Groups& groups() const { return groups_; }

 private:
  static bool alike(const plan::Item& a, const plan::Item& b) {
    return a.outcome == b.outcome && same_formats(a, b) && a.rule == b.rule;
  }
  const plan::Plan& plan_;
  Groups groups_;
  std::vector<std::pair<const plan::Item*, Group*>> known_;
};

std::string groups_text(const Prepared& p, int width) {
  Grouping grouping(p.plan);
  for (const plan::Item& item : p.plan.items) {
    Group& g = grouping.of(item);
    ++g.tensors;
    g.before += item.bytes();
    for (const DeclView d : item.outputs)
      g.after += d.bytes();
  }
  Table table({{"fate", Align::kLeft, Shrink::kNever},
               {"scheme", Align::kLeft, Shrink::kEnd},
               {"rule", Align::kLeft, Shrink::kEnd},
               {"tensors", Align::kRight, Shrink::kNever},
               {"before", Align::kRight, Shrink::kNever},
               {"after", Align::kRight, Shrink::kNever}});
  for (const auto& [key, g] : grouping.groups()) {
    table.add({key[0], key[1].empty() ? "-" : key[1], key[2].empty() ? "-" : key[2],
               grouped(g.tensors), bytes_text(static_cast<double>(g.before)),
               bytes_text(static_cast<double>(g.after))});
  }
  return table.text(width);
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words)
    out += (out.empty() ? "" : ", ") + word;
  return out;
}

std::string memory_text(const PlannedMemory& memory) {
  const std::string device =
      memory.device ? "; " + bytes_text(static_cast<double>(*memory.device)) + " of the device"
                    : "";
  return bytes_text(static_cast<double>(memory.process)) + " at most, " +
         bytes_text(static_cast<double>(memory.block)) + " of it for a block" + device;
}

}  // namespace

std::string plan_document(const Prepared& p, const PlannedMemory& memory) {
  const plan::Cost& cost = p.plan.cost;
  JsonPage page;
  page.member("ok", true);
  page.member("recipe", recipe_name(p));
  page.member("model", p.source->container().path().string());
  page.member("steps", steps_of(p));
  add_tensors(page, p);
  page.member("memory",
              {{"peak_bytes", memory.process},
               {"block_bytes", memory.block},
               {"device_peak_bytes", memory.device ? Json(*memory.device) : Json(nullptr)}});
  page.member("disk", {{"output_bytes", cost.output_bytes}, {"scratch_bytes", cost.scratch_bytes}});
  page.member("seconds", json_number(cost.seconds));
  add_engines(page, p.plan.engines);
  page.member("problems", json_problems(warnings_of(p)));
  return page.finish();
}

std::string failed_plan_document(const std::string& recipe, const std::string& model,
                                 const std::vector<Diagnostic>& problems) {
  return json_page({{"ok", false},
                    {"recipe", recipe},
                    {"model", model.empty() ? Json(nullptr) : Json(model)},
                    {"problems", json_problems(problems)}});
}

std::string plan_page(const Prepared& p, const PlannedMemory& memory, int width) {
  const plan::Cost& cost = p.plan.cost;
  const std::vector<Entry> head = {
      {"recipe", printable(recipe_name(p) + " (" + p.recipe.file + ")")},
      {"model", printable(p.source->container().path().string())},
      {"steps", joined(steps_of(p))},
      {"memory", memory_text(memory)},
      {"disk", bytes_text(static_cast<double>(cost.output_bytes)) + " of output, " +
                   bytes_text(static_cast<double>(cost.scratch_bytes)) + " while it runs"},
      {"time", "about " + duration_text(cost.seconds)}};
  std::string out = entries(head, width) + "\n" + groups_text(p, width);
  if (!p.plan.engines.empty()) out += "\nengines:\n" + engines_text(p.plan.engines, width);
  return out;
}

}  // namespace mopt::cli
