// The plugins of this process and the components that they offer.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "host/loader/library.hpp"
#include "host/loader/services.hpp"

namespace mopt {

// A component and the plugin that it comes from; all of it static data of that plugin.
struct Component {
  const mopt_component* entry = nullptr;
  const mopt_plugin* plugin = nullptr;
  std::filesystem::path file;

  std::string_view name() const { return entry->name; }
  std::string_view interface_id() const { return entry->interface_id; }
  std::span<const mopt_option> options() const { return {entry->options, entry->n_options}; }
};

struct LoadedPlugin {
  std::filesystem::path file;
  const mopt_plugin* plugin = nullptr;
};

// Where to look, first hit wins: single files, then directories in this order.
struct SearchPath {
  std::vector<std::filesystem::path> files;
  std::vector<std::filesystem::path> directories;
  // Directories from here on are the product's own: their files need no trial in a child process.
  size_t first_trusted = 0;
};

// --plugin, --plugin-dir, MOPT_PLUGIN_PATH (ignored with raised privileges), $XDG_DATA_HOME, and
// the installation that `executable` belongs to. Never the working directory.
SearchPath default_search(std::vector<std::filesystem::path> files,
                          std::vector<std::filesystem::path> directories,
                          const std::filesystem::path& executable);

class Registry {
 public:
  // Loads every plugin found. What cannot be used is listed in refused(), and the rest works.
  Registry(const SearchPath&, Services&);
  ~Registry();
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  const std::vector<LoadedPlugin>& plugins() const { return plugins_; }
  const std::vector<Refusal>& refused() const { return refused_; }
  const std::vector<std::filesystem::path>& searched() const { return searched_; }
  Services& services() const { return services_; }

  // Every component of an interface, in the order of loading.
  std::vector<Component> components(std::string_view interface_id) const;
  // By short name, or "plugin.id:name". Throws NOT_FOUND, or INVALID_ARGUMENT naming both plugins
  // when two offer the name.
  Component find(std::string_view interface_id, std::string_view name) const;

 private:
  void consider(const std::filesystem::path& file, bool trusted);
  std::optional<Refusal> accept(const std::filesystem::path& file, const mopt_plugin*);

  Services& services_;
  std::vector<LoadedPlugin> plugins_;
  std::vector<Refusal> refused_;
  std::vector<std::filesystem::path> searched_;
};

}  // namespace mopt
