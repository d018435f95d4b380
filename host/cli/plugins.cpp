// `mopt-host plugins`.
#include "host/cli/commands.hpp"
#include "host/cli/component_text.hpp"
#include "host/cli/layout.hpp"
#include "host/report/json.hpp"

namespace mopt::cli {
namespace {

Json json_of(const LoadedPlugin& loaded) {
  Json components = Json::array();
  for (uint64_t i = 0; i < loaded.plugin->n_components; ++i) {
    const mopt_component& c = loaded.plugin->components[i];
    components.push_back({{"name", c.name}, {"interface", c.interface_id}, {"summary", c.summary}});
  }
  return {{"file", loaded.file.string()},
          {"id", loaded.plugin->id},
          {"version", loaded.plugin->version},
          {"components", components}};
}

std::string document(const Registry& registry) {
  Json json = {{"plugins", Json::array()}, {"refused", Json::array()}, {"searched", Json::array()}};
  for (const LoadedPlugin& loaded : registry.plugins())
    json["plugins"].push_back(json_of(loaded));
  for (const Refusal& refusal : registry.refused()) {
    json["refused"].push_back({{"file", refusal.file.string()}, {"reason", refusal.reason}});
  }
  for (const auto& directory : registry.searched())
    json["searched"].push_back(directory.string());
  return json_page(json);
}

// The components of all plugins, grouped by plugin; with --verbose their options too.
std::string page(const Registry& registry, Verbosity verbosity, int width) {
  std::string out;
  for (const LoadedPlugin& loaded : registry.plugins()) {
    const mopt_plugin& p = *loaded.plugin;
    out += printable(std::string(p.id) + " " + p.version + "  " + loaded.file.string()) + "\n";
    std::vector<Entry> list;
    for (uint64_t i = 0; i < p.n_components; ++i) {
      const mopt_component& c = p.components[i];
      list.push_back(
          {printable(interface_word(c.interface_id) + " " + c.name), printable(c.summary)});
      if (verbosity != Verbosity::kVerbose) continue;
      for (Entry& option : option_entries({c.options, c.n_options}))
        list.push_back({"    " + option.name, option.text});
    }
    out += entries(list, width);
  }
  if (registry.plugins().empty()) out += "no plugin is loaded\n";
  for (const Refusal& refusal : registry.refused())
    out += format(diagnostic_of(refusal)) + "\n";
  out += "searched:\n";
  for (const auto& directory : registry.searched())
    out += "  " + printable(directory.string()) + "\n";
  return out;
}

}  // namespace

Exit run_plugins(App& app, const PluginsOptions&) {
  const Registry& registry = app.all_plugins();
  Console& console = app.console();
  if (app.json()) {
    console.document(document(registry));
  } else {
    console.text(page(registry, console.verbosity(), console.width()));
  }
  return Exit::kDone;
}

}  // namespace mopt::cli
