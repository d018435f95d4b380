#include "host/plan/plan.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "host/graph/adapt.hpp"
#include "tests/json.hpp"
#include "tests/model_files.hpp"

namespace mopt::plan {
namespace {

using test::Head;
using test::LlamaOptions;
using test::TempDir;

constexpr const char* kLinears = R"([[quantize.rule]]
id = "linears"
role = ["attn.*", "mlp.*"]
weight = "fp8"
input = "none"
)";
constexpr const char* kStatic = R"([calibration]
data = "ids.safetensors"
samples = 4
seq_len = 8
[quantize]
algorithm = "max"
[[quantize.rule]]
id = "linears"
role = ["attn.*", "mlp.*"]
weight = "fp8"
input = "fp8"
)";

// A tiny llama on the disk, and plans over it.
struct Fixture {
  Services services{"", {}};
  Registry registry{{{}, {MOPT_PLUGINS}, 0}, services};
  TempDir dir;
  std::optional<Container> source;
  std::optional<graph::Model> graph;
  Recipe recipe;
  std::string config;

  Catalogue catalogue() {
    const auto schema = [](const Component& c) {
      return ComponentSchema{std::string(c.name()), std::string(c.interface_id()), c.entry->summary,
                             c.file.string(), c.options()};
    };
    return {
        [=, this](std::string_view id, std::string_view name) -> std::optional<ComponentSchema> {
          for (const Component& c : registry.components(id)) {
            if (c.name() == name) return schema(c);
          }
          return std::nullopt;
        },
        [this](std::string_view id) {
          std::vector<std::string> names;
          for (const Component& c : registry.components(id))
            names.emplace_back(c.name());
          return names;
        }};
  }

  Plan plan(const std::string& rules, const LlamaOptions& model = {},
            const std::string& adapter = "auto") {
    test::write_llama(dir.path(), model);
    config = test::json_text(test::llama_config(model));
    source.emplace(Container::open(registry, dir.path()));
    graph.reset();
    if (adapter != "none") {
      graph.emplace(graph::adapt(registry, *source, graph::ModelConfig(config), adapter));
    }
    test::write_text(dir / "r.toml", "schema = 1\n" + rules);
    recipe = load_recipe({(dir / "r.toml").string(), {}, {}, "llama", {}}, catalogue());
    Exporter exporter(registry, registry.find(MOPT_EXPORTER_INTERFACE, "hf"), {});
    std::vector<Calibrator> calibrators;
    if (recipe.quantize) {
      for (const AppliedComponent& a : recipe.quantize->algorithms) {
        calibrators.emplace_back(registry, registry.find(MOPT_CALIBRATOR_INTERFACE, a.name.value),
                                 a.options.settings());
      }
    }
    std::optional<Pruner> pruner;
    if (recipe.sparsify) {
      const AppliedComponent& a = recipe.sparsify->pruner;
      pruner.emplace(registry, registry.find(MOPT_PRUNER_INTERFACE, a.name.value),
                     a.options.settings());
    }
    return make_plan({recipe, registry, *source, graph ? &*graph : nullptr, config}, exporter,
                     calibrators, pruner ? &*pruner : nullptr);
  }

  // The codes of what is wrong, in order; the first message in `message`.
  std::vector<std::string> faults(const std::string& rules, const LlamaOptions& model = {},
                                  const std::string& adapter = "auto") {
    std::vector<std::string> codes;
    try {
      plan(rules, model, adapter);
    } catch (const Failure& f) {
      message = format(f.diagnostics()[0]);
      for (const Diagnostic& d : f.diagnostics())
        codes.push_back(d.code);
    }
    return codes;
  }
  std::string message;
};

const Item& item(const Plan& plan, std::string_view name) {
  const auto found = std::find_if(plan.items.begin(), plan.items.end(),
                                  [&](const Item& i) { return i.name == name; });
  REQUIRE(found != plan.items.end());
  return *found;
}

size_t count(const Plan& plan, Outcome outcome) {
  return static_cast<size_t>(std::count_if(plan.items.begin(), plan.items.end(),
                                           [&](const Item& i) { return i.outcome == outcome; }));
}

TEST_CASE_FIXTURE(Fixture, "every tensor of the source is an item of one unit, once") {
  for (const char* adapter : {"auto", "none"}) {
    CAPTURE(adapter);
    const Plan p = plan(kLinears, {}, adapter);
    std::set<std::string> names;
    for (const Item& i : p.items)
      CHECK(names.insert(i.source).second);
    for (const test::FileTensor& t : test::llama_tensors({}))
      CHECK(names.contains(t.name));
    std::vector<int> seen(p.items.size());
    for (const Unit& unit : p.units) {
      for (const size_t i : unit.items)
        ++seen[i];
    }
    CHECK(std::all_of(seen.begin(), seen.end(), [](int n) { return n == 1; }));
    CHECK(count(p, Outcome::kQuantized) == 14);
  }
}

TEST_CASE_FIXTURE(Fixture, "an item says which rule decided and why the others stay") {
  const Plan p = plan(kLinears);
  const Item& q = item(p, "model.layers.1.self_attn.q_proj.weight");
  CHECK(q.outcome == Outcome::kQuantized);
  CHECK(q.rule == "linears");
  CHECK(q.layer == 1);
  CHECK(q.role == "attn.q");
  REQUIRE(q.parts.size() == 2);
  CHECK(q.parts[0].name == MOPT_ROLE_PAYLOAD);
  CHECK(q.parts.list().at(0).shape == std::vector<int64_t>{32, 32});
  const Item& norm = item(p, "model.norm.weight");
  CHECK(norm.outcome == Outcome::kCopied);
  REQUIRE(norm.outputs.size() == 1);
  CHECK(TensorDecl(norm.outputs[0]) == TensorDecl{"model.norm.weight", kBf16, {32}});
  CHECK(item(p, "lm_head.weight").outcome == Outcome::kCopied);
  CHECK_FALSE(p.needs_data());
}

TEST_CASE_FIXTURE(Fixture, "no two outputs share a name, and all of them are listed") {
  const Plan p = plan(kLinears);
  std::set<std::string> names;
  for (const TensorDecl& d : p.outputs())
    CHECK(names.insert(d.name).second);
  CHECK(names.size() == test::llama_tensors({}).size() + 14);  // and a scale for each
}

TEST_CASE_FIXTURE(Fixture, "a tied head that a rule names becomes a tensor of its own") {
  for (const Head head : {Head::kTied, Head::kTiedAndStored}) {
    const Plan p = plan(std::string(kLinears) + R"([[quantize.rule]]
id = "head"
role = ["lm_head"]
weight = "fp8"
input = "none"
)",
                        {.head = head});
    CHECK(p.untied_head);
    const Item& i = item(p, "lm_head.weight");
    CHECK(i.source == "model.embed_tokens.weight");
    CHECK(i.outcome == Outcome::kQuantized);
    CHECK(item(p, "model.embed_tokens.weight").outcome == Outcome::kCopied);
    CHECK(std::any_of(p.warnings.begin(), p.warnings.end(),
                      [](const Diagnostic& d) { return d.code == "W104"; }));
    CHECK(count(p, Outcome::kDropped) == (head == Head::kTiedAndStored ? 1 : 0));
    CHECK(p.units.back().items.size() + p.units[p.units.size() - 2].items.size() >= 2);
  }
}

TEST_CASE_FIXTURE(Fixture, "a tied head that no rule names stays tied") {
  const Plan p = plan(kLinears, {.head = Head::kTiedAndStored});
  CHECK_FALSE(p.untied_head);
  const Item& head = item(p, "lm_head.weight");
  CHECK(head.outcome == Outcome::kDropped);
  CHECK(head.rule == "tied");
  CHECK(head.outputs.empty());
}

TEST_CASE_FIXTURE(Fixture, "static scales put a site at every quantized linear, in graph order") {
  const Plan p = plan(kStatic);
  REQUIRE(p.sites.size() == 14);
  CHECK(p.needs_data());
  CHECK(p.sites[0].name == "model.layers.0.self_attn.q_proj:input");
  CHECK(p.sites[0].channels == 32);
  CHECK(p.sites[0].value == p.sites[1].value);  // q and k see the same rows
  CHECK(p.sites.back().name == "model.layers.1.mlp.down_proj:input");
  CHECK(p.sites.back().channels == 64);
  CHECK(p.last_forward_block == 2);
  CHECK(p.sites[0].stats == std::vector<std::vector<std::string>>{{"absmax"}});
}

TEST_CASE_FIXTURE(Fixture,
                  "a quantized cache has sites at K and V, and scales beside copied weights") {
  const Plan p = plan(R"([calibration]
data = "ids.safetensors"
[quantize]
algorithm = "max"
kv_cache = "fp8"
)");
  CHECK(p.sites.size() == 4);
  const Item& k = item(p, "model.layers.0.self_attn.k_proj.weight");
  CHECK(k.outcome == Outcome::kCopied);
  REQUIRE(k.outputs.size() == 2);
  CHECK(k.outputs[0].name == "model.layers.0.self_attn.k_proj.weight");
  CHECK(k.parts[1].name == MOPT_ROLE_K_SCALE);
  CHECK(item(p, "model.layers.0.self_attn.q_proj.weight").outputs.size() == 1);
}

TEST_CASE_FIXTURE(Fixture, "all faults of a stage are reported at once, each at its place") {
  CHECK(faults(R"([[quantize.rule]]
id = "q"
role = ["attn.q"]
weight = "fp8"
input = "none"
[[quantize.rule]]
id = "gate"
role = ["mlp.gate"]
weight = "fp8"
input = "none"
)") == std::vector<std::string>(6, "E305"));  // k, v and up of both layers
  CHECK(message.find("model.layers.0.self_attn.k_proj.weight") == 0);
  CHECK(message.find("model.layers.0.self_attn.qkv") != std::string::npos);
}

TEST_CASE_FIXTURE(Fixture, "a rule that matches nothing is an error at the rule") {
  CHECK(faults(R"([[quantize.rule]]
id = "experts"
role = ["moe.expert.*"]
weight = "fp8"
input = "none"
)") == std::vector<std::string>{"E301"});
  CHECK(message.find("r.toml:2:") != std::string::npos);
}

TEST_CASE_FIXTURE(Fixture, "what a format cannot hold is an error with the tensor's name") {
  CHECK(faults(R"([[quantize.rule]]
id = "down"
role = ["mlp.down"]
weight = "nvfp4"
input = "none"
)",
               {.intermediate = 40}) == std::vector<std::string>(2, "M204"));
  CHECK(message.find("model.layers.0.mlp.down_proj.weight: error[M204]") == 0);
  CHECK(message.find("40") != std::string::npos);
}

TEST_CASE_FIXTURE(Fixture, "a vector that a rule names by role is refused, not skipped") {
  CHECK(faults(R"([[quantize.rule]]
id = "norms"
role = ["norm"]
weight = "fp8"
input = "none"
)")
            .front() != "");
}

TEST_CASE_FIXTURE(Fixture, "operands that a format does not serve are errors at the rule") {
  CHECK(faults(R"([calibration]
data = "x.safetensors"
[quantize]
algorithm = "max"
kv_cache = "int8"
)")
            .front() == "E306");
}

TEST_CASE_FIXTURE(Fixture, "what needs data says so when there is none") {
  const std::string without = std::string(kStatic).substr(std::string(kStatic).find("[quantize]"));
  CHECK(faults(without) == std::vector<std::string>{"E304"});
  CHECK(faults(kStatic, {}, "none") == std::vector<std::string>{"E304"});
  CHECK(message.find("adapter is \"none\"") != std::string::npos);
}

TEST_CASE_FIXTURE(Fixture, "an eval without an adapter is refused before the run") {
  CHECK(faults(std::string(kLinears) + R"([[eval]]
id = "ppl"
kind = "perplexity"
data = "ids.safetensors"
)",
               {}, "none") == std::vector<std::string>{"E303"});
}

TEST_CASE_FIXTURE(Fixture, "pruning transforms what stays in its type and precedes quantization") {
  const std::string sparsify = R"([sparsify]
use = "magnitude"
[[sparsify.rule]]
id = "all"
role = ["mlp.*"]
)";
  const Plan alone = plan(sparsify);
  CHECK(count(alone, Outcome::kTransformed) == 6);
  CHECK(item(alone, "model.layers.0.mlp.up_proj.weight").pruned);
  const Plan both = plan(sparsify + kLinears);
  const Item& up = item(both, "model.layers.0.mlp.up_proj.weight");
  CHECK(up.pruned);
  CHECK(up.outcome == Outcome::kQuantized);
  CHECK_FALSE(item(both, "model.layers.0.self_attn.q_proj.weight").pruned);
}

TEST_CASE_FIXTURE(Fixture, "biases, tensors without elements and unknown tensors are copied") {
  LlamaOptions model{.bias = "qkvo"};
  model.more = {{"extra.empty", "F32", {0, 4}, ""}, {"extra.scalar", "F32", {}, "\0\0\0\0x"}};
  model.more[1].bytes.resize(4);
  const Plan p = plan(kLinears, model);
  CHECK(item(p, "model.layers.0.self_attn.q_proj.bias").outcome == Outcome::kCopied);
  CHECK(item(p, "extra.empty").bytes() == 0);
  CHECK(item(p, "extra.scalar").outputs[0].shape.empty());
  CHECK(p.units.back().name == "rest");
  const auto unknown = std::count_if(p.warnings.begin(), p.warnings.end(),
                                     [](const Diagnostic& d) { return d.code == "W108"; });
  CHECK(unknown == 2);
}

TEST_CASE_FIXTURE(Fixture, "the cost grows with the model, the rows and their length") {
  const auto peak = [&](const std::string& rules, const LlamaOptions& model = {}) {
    return plan(rules, model).cost.peak_memory;
  };
  const uint64_t small = peak(kStatic);
  CHECK(peak(kStatic, {.hidden = 512, .intermediate = 2048}) > small);
  std::string more = kStatic;
  more.replace(more.find("samples = 4"), 11, "samples = 4000");
  more.replace(more.find("seq_len = 8"), 11, "seq_len = 512");
  CHECK(peak(more) > small + 4000ull * 512 * 32 * 2);
  CHECK(peak(kLinears) <= small);
}

}  // namespace
}  // namespace mopt::plan
