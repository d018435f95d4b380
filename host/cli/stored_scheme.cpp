#include "host/cli/stored_scheme.hpp"

namespace mopt::cli {

namespace {

// Every option of a component at its default; static data of the plugin.
std::vector<mopt_setting> defaults(const Component& c) {
  std::vector<mopt_setting> settings;
  for (const mopt_option& o : c.options())
    settings.push_back({str(o.name), o.def});
  return settings;
}

}  // namespace

StoredLayout read_layout(const Registry& registry, const Container& container) {
  const std::vector<mopt_tensor_decl> tensors = container.declarations();
  for (const Component& component : registry.components(MOPT_EXPORTER_INTERFACE)) {
    auto exporter = std::make_unique<Exporter>(registry, component, defaults(component));
    try {
      ReadResult read =
          exporter->read(tensors, [&](std::string_view name) { return container.document(name); });
      if (read.params.empty()) continue;
      return {std::move(exporter), std::move(read)};
    } catch (const Error& e) {
      if (e.code() != MOPT_UNSUPPORTED) throw;  // unsupported: another layout wrote it
    }
  }
  return {};
}

std::unordered_map<std::string, std::string> scheme_names(const StoredLayout& layout) {
  std::unordered_map<std::string, std::string> names;
  for (const StoredParam& param : layout.read.params) {
    const std::string weight(param.weight ? view(param.weight->name) : "");
    const std::string input(param.input ? view(param.input->name) : "");
    const std::string kv(param.kv ? view(param.kv->name) : "");
    for (const auto& [role, tensor] : param.roles) {
      if (role == MOPT_ROLE_PAYLOAD) {
        names[tensor] = input.empty() ? weight : weight + ", input " + input;
      } else if (role == MOPT_ROLE_K_SCALE || role == MOPT_ROLE_V_SCALE) {
        names[tensor] = kv + " " + role;
      } else if (role == MOPT_ROLE_INPUT_SCALE) {
        names[tensor] = input + " " + role;
      } else {
        names[tensor] = weight + " " + role;
      }
    }
  }
  return names;
}

}  // namespace mopt::cli
