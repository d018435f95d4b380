#include "host/pipeline/prepare.hpp"

#include "host/compute/memory.hpp"
#include "host/compute/parallel.hpp"
#include "host/pipeline/calibrate.hpp"

namespace mopt::pipeline {
namespace {

ComponentSchema schema_of(const Component& c) {
  return {std::string(c.name()), std::string(c.interface_id()), c.entry->summary, c.file.string(),
          c.options()};
}

[[noreturn]] void no_model(const std::string& file) {
  Diagnostic d;
  d.code = "E106";
  d.file = file;
  d.message = "no model is named";
  d.remedy = "give --model PATH, or [model] path in the recipe";
  throw Failure(d);
}

void refuse_quantized(const Checkpoint& source) {
  if (!source.quantized()) return;
  Diagnostic d;
  d.code = "M110";
  d.file = source.container().path().string();
  d.message = "the model is already quantized (" +
              std::to_string(source.description().params.size()) + " layers)";
  d.remedy = "start from the original checkpoint";
  throw Failure(d);
}

}  // namespace

Catalogue catalogue_of(const Registry& registry) {
  Catalogue catalogue;
  catalogue.find = [&registry](std::string_view id,
                               std::string_view name) -> std::optional<ComponentSchema> {
    try {
      return schema_of(registry.find(id, name));
    } catch (const Error& e) {
      if (e.code() == MOPT_NOT_FOUND) return std::nullopt;
      throw;
    }
  };
  catalogue.names = [&registry](std::string_view id) {
    std::vector<std::string> names;
    for (const Component& c : registry.components(id))
      names.emplace_back(c.name());
    return names;
  };
  return catalogue;
}

std::string_view config_text(const Checkpoint& checkpoint) {
  return checkpoint.container().document("config.json");
}

Prepared prepare(const Registry& registry, RecipeRequest request) {
  Prepared p;
  const std::string path = peek_model_path(request);
  if (!path.empty()) {
    try {
      p.source = Checkpoint::open(registry, path, "none");
    } catch (const Failure&) {
      find_recipe(request);  // a misspelled recipe is the earlier fault
      throw;
    }
    if (p.source->config() != nullptr) request.model_type = p.source->config()->text("model_type");
  }
  p.recipe = load_recipe(request, catalogue_of(registry));
  if (!p.source) no_model(p.recipe.file);
  if (p.recipe.model.adapter.value != "none") p.source->build_graph(p.recipe.model.adapter.value);
  refuse_quantized(*p.source);
  const AppliedComponent& layout = p.recipe.output.layout;
  const auto layout_settings = layout.options.settings();
  p.exporter = std::make_unique<Exporter>(
      registry, registry.find(MOPT_EXPORTER_INTERFACE, layout.name.value), layout_settings);
  if (p.recipe.quantize) {
    for (const AppliedComponent& a : p.recipe.quantize->algorithms) {
      const auto settings = a.options.settings();
      p.calibrators.emplace_back(registry, registry.find(MOPT_CALIBRATOR_INTERFACE, a.name.value),
                                 settings);
    }
  }
  if (p.recipe.sparsify) {
    const AppliedComponent& a = p.recipe.sparsify->pruner;
    const auto settings = a.options.settings();
    p.pruner = std::make_unique<Pruner>(
        registry, registry.find(MOPT_PRUNER_INTERFACE, a.name.value), settings);
  }
  p.plan = plan::make_plan(
      {p.recipe, registry, p.source->container(), p.source->graph(), config_text(*p.source),
       compute_type(*p.source), compute::thread_count(), compute::resident_bytes()},
      *p.exporter, p.calibrators, p.pruner.get());
  if (p.plan.needs_data()) {
    const Calibration& c = *p.recipe.calibration;
    if (const auto rows = known_rows(c, registry)) {
      if (auto few = few_rows(c, *rows)) p.plan.warnings.push_back(*std::move(few));
    }
  }
  p.plan.cost.output_bytes = ContainerWriter::predict(
      registry, "safetensors",
      {"", p.plan.outputs(), static_cast<uint64_t>(p.recipe.output.shard_gb.value * 1e9)});
  return p;
}

}  // namespace mopt::pipeline
