#include "host/loader/registry.hpp"

#include <sys/auxv.h>

#include <algorithm>
#include <cstdlib>

namespace mopt {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPluginFolder = "lib/mopt/plugins/abi-0";

bool is_utf8(const char* text) {
  const auto* s = reinterpret_cast<const unsigned char*>(text);
  while (*s != 0) {
    const int extra = *s < 0x80                 ? 0
                      : *s >= 0xC2 && *s < 0xE0 ? 1
                      : *s >= 0xE0 && *s < 0xF0 ? 2
                      : *s >= 0xF0 && *s < 0xF5 ? 3
                                                : -1;
    if (extra < 0) return false;
    ++s;
    for (int i = 0; i < extra; ++i, ++s) {
      if ((*s & 0xC0) != 0x80) return false;
    }
  }
  return true;
}

bool usable(const char* text) {
  return text != nullptr && *text != 0 && is_utf8(text);
}

bool all_usable(std::span<const char* const> texts) {
  return std::all_of(texts.begin(), texts.end(), usable);
}

// What is wrong with a descriptor, or empty.
std::string fault_of(const mopt_plugin& p) {
  if (!usable(p.id) || !usable(p.version)) return "its id or version is missing or not UTF-8";
  if (p.reserved0 != 0 || p.reserved1 != 0) return "a reserved field of its descriptor is not zero";
  if (p.n_components == 0 || p.components == nullptr) return "it offers no component";
  for (uint64_t i = 0; i < p.n_components; ++i) {
    const mopt_component& c = p.components[i];
    const std::string which = "component " + std::to_string(i);
    if (c.struct_size < sizeof(mopt_component)) return which + " has a short descriptor";
    if (!usable(c.interface_id) || !usable(c.name) || !usable(c.summary)) {
      return which + " has a name or summary that is missing or not UTF-8";
    }
    if (c.vtable == nullptr) return which + " has no function table";
    // A table has at least the struct_size that every interface begins with.
    if (*static_cast<const uint32_t*>(c.vtable) < 2 * sizeof(uint32_t)) {
      return which + " has a function table without struct_size";
    }
    if (c.n_options > 0 && c.options == nullptr) return which + " has no table of its options";
    for (uint64_t k = 0; k < c.n_options; ++k) {
      const mopt_option& o = c.options[k];
      if (o.struct_size < sizeof(mopt_option) || !usable(o.name) || !usable(o.help)) {
        return which + " declares an option without name or help";
      }
      if (o.n_choices > 0 && (o.choices == nullptr || !all_usable({o.choices, o.n_choices}))) {
        return which + " declares choices of '" + o.name + "' that are missing or not UTF-8";
      }
    }
  }
  return {};
}

std::vector<fs::path> split_paths(const char* list) {
  std::vector<fs::path> paths;
  std::string_view rest = list == nullptr ? "" : list;
  while (!rest.empty()) {
    const size_t colon = rest.find(':');
    const std::string_view one = rest.substr(0, colon);
    if (!one.empty() && one.front() == '/') paths.emplace_back(one);
    rest = colon == std::string_view::npos ? "" : rest.substr(colon + 1);
  }
  return paths;
}

fs::path data_home() {
  if (const char* xdg = std::getenv("XDG_DATA_HOME"); xdg != nullptr && *xdg == '/') return xdg;
  if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/') {
    return fs::path(home) / ".local/share";
  }
  return {};
}

std::vector<fs::path> shared_libraries(const fs::path& directory) {
  std::vector<fs::path> files;
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(directory, failed)) {
    if (entry.path().extension() == ".so" && !entry.is_directory(failed)) {
      files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());  // the order of a directory is an accident
  return files;
}

}  // namespace

SearchPath default_search(std::vector<fs::path> files, std::vector<fs::path> directories,
                          const fs::path& executable) {
  SearchPath search{std::move(files), std::move(directories), 0};
  if (getauxval(AT_SECURE) == 0) {
    for (fs::path& path : split_paths(std::getenv("MOPT_PLUGIN_PATH"))) {
      search.directories.push_back(std::move(path));
    }
    if (const fs::path home = data_home(); !home.empty()) {
      search.directories.push_back(home / "mopt/plugins/abi-0");
    }
  }
  search.first_trusted = search.directories.size();
  search.directories.push_back(executable.parent_path().parent_path() / kPluginFolder);
  return search;
}

Registry::Registry(const SearchPath& search, Services& services) : services_(services) {
  for (const fs::path& file : search.files)
    consider(fs::absolute(file), false);
  for (size_t i = 0; i < search.directories.size(); ++i) {
    const fs::path directory = fs::absolute(search.directories[i]);
    searched_.push_back(directory);
    for (const fs::path& file : shared_libraries(directory)) {
      consider(file, i >= search.first_trusted);
    }
  }
}

Registry::~Registry() {
  for (auto it = plugins_.rbegin(); it != plugins_.rend(); ++it) {
    if (it->plugin->shutdown != nullptr) it->plugin->shutdown();
  }
}

void Registry::consider(const fs::path& file, bool trusted) {
  std::error_code failed;
  for (const LoadedPlugin& loaded : plugins_) {
    if (fs::equivalent(loaded.file, file, failed)) return;
  }
  std::optional<Refusal> refusal = inspect_library(file);
  if (!refusal && !trusted) refusal = try_library(file);
  if (!refusal) {
    OpenedLibrary opened = open_library(file);
    refusal = opened.refusal ? std::move(opened.refusal) : accept(file, opened.plugin);
  }
  if (refusal) refused_.push_back(*std::move(refusal));
}

std::optional<Refusal> Registry::accept(const fs::path& file, const mopt_plugin* plugin) {
  if (const std::string fault = fault_of(*plugin); !fault.empty()) {
    return Refusal{file, "P105", fault + "; its author must mend the descriptor"};
  }
  for (const LoadedPlugin& loaded : plugins_) {
    if (std::string_view(loaded.plugin->id) == plugin->id) {
      return Refusal{file, "P106",
                     std::string("plugin ") + plugin->id + " " + plugin->version +
                         " is already loaded from " + loaded.file.string() + " (" +
                         loaded.plugin->version + "); remove one of the two"};
    }
  }
  if (plugin->init != nullptr) {
    if (mopt_error* error = plugin->init(services_.host()); error != nullptr) {
      std::string reason(view(error->message));
      error->release(error);
      return Refusal{file, "P108", "its initialisation failed: " + reason};
    }
  }
  plugins_.push_back({file, plugin});
  return {};
}

std::vector<Component> Registry::components(std::string_view interface_id) const {
  std::vector<Component> found;
  for (const LoadedPlugin& loaded : plugins_) {
    for (uint64_t i = 0; i < loaded.plugin->n_components; ++i) {
      const mopt_component& c = loaded.plugin->components[i];
      if (interface_id == c.interface_id) found.push_back({&c, loaded.plugin, loaded.file});
    }
  }
  return found;
}

Component Registry::find(std::string_view interface_id, std::string_view name) const {
  const size_t colon = name.find(':');
  const std::string_view id = colon == std::string_view::npos ? "" : name.substr(0, colon);
  const std::string_view wanted = colon == std::string_view::npos ? name : name.substr(colon + 1);
  Component found;
  for (const Component& c : components(interface_id)) {
    if (c.name() != wanted || (!id.empty() && id != c.plugin->id)) continue;
    if (found.entry != nullptr) {
      throw Error(MOPT_INVALID_ARGUMENT, "'" + std::string(wanted) + "' is offered by " +
                                             found.file.string() + " and by " + c.file.string() +
                                             "; write '" + found.plugin->id + ":" +
                                             std::string(wanted) + "' or '" + c.plugin->id + ":" +
                                             std::string(wanted) + "'");
    }
    found = c;
  }
  if (found.entry == nullptr) {
    throw Error(MOPT_NOT_FOUND, "no loaded plugin offers '" + std::string(name) + "'");
  }
  return found;
}

}  // namespace mopt
