#include "host/cli/explain.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>

#include "host/cli/commands.hpp"
#include "host/cli/component_text.hpp"
#include "host/cli/grammar.hpp"
#include "host/recipe/match.hpp"
#include "host/report/json.hpp"

namespace mopt::cli {
namespace {

namespace fs = std::filesystem;

struct Engine {
  std::string_view name, text;
};

constexpr Engine kEngines[] = {
    {"vllm",
     "vLLM, an inference server. It reads the quantization of a checkpoint from "
     "quantization_config in config.json."},
    {"sglang",
     "SGLang, an inference server. It reads the quantization of a checkpoint from config.json and "
     "hf_quant_config.json."},
    {"tensorrt-llm",
     "TensorRT-LLM, NVIDIA's inference library. It reads the quantization of a checkpoint from "
     "hf_quant_config.json."},
    {"transformers",
     "Hugging Face transformers, the reference implementation of most models; it reads "
     "quantization_config in config.json."},
    {"llama.cpp", "llama.cpp, inference on CPUs and GPUs from GGUF files."},
};

constexpr std::string_view kAboutEngines =
    "\nThe layout's plugin judges whether it takes a checkpoint: '--check' and the report say so, "
    "and 'mopt-host verify DIR --engine NAME' checks a finished one. Problems for an engine are "
    "errors when [verify] engines or --engine names it, else warnings.\n";

std::string component_line(const mopt_component& c) {
  return interface_word(c.interface_id) + " " + c.name + ": " + c.summary + "\n";
}

std::string options_text(std::span<const mopt_option> options) {
  if (options.empty()) return "It has no options.\n";
  std::string out = "Options:\n";
  for (const Entry& e : option_entries(options))
    out += "  " + e.name + ": " + e.text + "\n";
  return out;
}

template <class Fn>
void for_each_component(const Registry& registry, Fn&& fn) {
  for (const LoadedPlugin& loaded : registry.plugins()) {
    for (uint64_t i = 0; i < loaded.plugin->n_components; ++i)
      fn(loaded, loaded.plugin->components[i]);
  }
}

std::string plugin_text(const LoadedPlugin& loaded) {
  const mopt_plugin& p = *loaded.plugin;
  std::string out = std::string("plugin ") + p.id + " " + p.version + "\n";
  if (p.vendor != nullptr && *p.vendor != 0) out += std::string("by ") + p.vendor + "\n";
  if (p.license != nullptr && *p.license != 0) out += std::string("licence ") + p.license + "\n";
  out += "file " + loaded.file.string() + "\n";
  for (uint64_t i = 0; i < p.n_components; ++i)
    out += component_line(p.components[i]);
  return out;
}

void add_plugins(const Registry& registry, std::string_view name, std::vector<Explanation>& out) {
  for (const LoadedPlugin& loaded : registry.plugins()) {
    if (name == loaded.plugin->id) out.push_back({"plugin", plugin_text(loaded)});
  }
  for_each_component(registry, [&](const LoadedPlugin& loaded, const mopt_component& c) {
    const std::string full = std::string(loaded.plugin->id) + ":" + c.name;
    if (name != c.name && name != full) return;
    out.push_back({"component", component_line(c) + "From plugin " + loaded.plugin->id + " " +
                                    loaded.plugin->version + ".\n" +
                                    options_text({c.options, c.n_options})});
  });
}

// Options of the command line of this name, with or without its dashes.
std::string option_lines(std::span<const OptionSpec> options, std::string_view name,
                         const std::string& owner) {
  std::string text;
  for (const OptionSpec& o : options) {
    const std::string full = "--" + std::string(o.name);
    if (name != o.name && name != full) continue;
    text += "option of " + owner + ": " + full + (o.value.empty() ? "" : " ") +
            std::string(o.value) + ": " + std::string(o.help) + "\n";
  }
  return text;
}

// "block" of every component that has it, or "int4.block" of one.
void add_options(const Registry& registry, std::string_view name, std::vector<Explanation>& out) {
  std::string text;
  for_each_component(registry, [&](const LoadedPlugin&, const mopt_component& c) {
    for (const mopt_option& o : std::span(c.options, c.n_options)) {
      if (name != o.name && name != std::string(c.name) + "." + o.name) continue;
      const Entry e = option_entry(o);
      text += "option of " + interface_word(c.interface_id) + " " + c.name + ": " + e.name + ": " +
              e.text + "\n";
    }
  });
  for (const CommandSpec& command : commands()) {
    const std::string owner =
        command.name.empty() ? "the main job" : "'" + std::string(command.name) + "'";
    text += option_lines(command.options, name, owner);
  }
  text += option_lines(common_options(), name, "every command");
  if (!text.empty()) out.push_back({"option", text});
}

void add_role(std::string_view name, std::vector<Explanation>& out) {
  if (name == "roles") {
    std::string text = "Roles, which recipes select by:\n";
    for (const std::string_view role : all_roles())
      text += "  " + std::string(role) + ": " + std::string(explain_role(role)) + "\n";
    out.push_back({"role", text});
  } else if (const std::string_view text = explain_role(name); !text.empty()) {
    out.push_back({"role", "role " + std::string(name) + ": " + std::string(text) + "\n"});
  }
}

// Files of the library by the name that explains them: "fp8", and "models/qwen3/fp8" in full.
std::vector<std::pair<std::string, fs::path>> library_files(const fs::path& library) {
  std::vector<std::pair<std::string, fs::path>> files;
  std::error_code failed;
  for (auto it = fs::recursive_directory_iterator(library, failed);
       !failed && it != fs::recursive_directory_iterator(); it.increment(failed)) {
    if (it->path().extension() != ".toml") continue;
    files.emplace_back(it->path().lexically_relative(library).replace_extension(), it->path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string text_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// The value of the top-level `description`; library recipes write it on one line.
std::string description_of(std::string_view toml) {
  constexpr std::string_view kKey = "\ndescription = \"";
  const size_t at = toml.find(kKey);
  if (at == std::string_view::npos) return {};
  toml.remove_prefix(at + kKey.size());
  return std::string(toml.substr(0, toml.find('"')));
}

void add_recipes(const fs::path& library, std::string_view name, std::vector<Explanation>& out) {
  for (const auto& [id, file] : library_files(library)) {
    const bool short_name = file.stem() == name;
    if (!short_name && id != name) continue;
    const std::string toml = text_of(file);
    out.push_back({"recipe", "recipe " + id + ": " + description_of(toml) + "\n" +
                                 header_comment(toml) + "file " + file.string() + "\n"});
  }
}

void add_code(std::string_view name, std::vector<Explanation>& out) {
  const CodeEntry* entry = find_code(name);
  if (entry == nullptr) return;
  const std::string exit = entry->code.starts_with('W')
                               ? "a warning"
                               : "exit code " + std::to_string(static_cast<int>(entry->exit));
  out.push_back({"diagnostic code", std::string(entry->code) + ": " + std::string(entry->title) +
                                        " (" + exit + ")\n" + std::string(entry->text) + "\n"});
}

void add_engine(std::string_view name, std::vector<Explanation>& out) {
  for (const Engine& e : kEngines) {
    if (e.name == name) {
      out.push_back({"engine", std::string(e.text) + std::string(kAboutEngines)});
    }
  }
}

std::string wrapped(const std::string& text, int width) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    const auto indent = static_cast<int>(std::min(line.find_first_not_of(' '), line.size()));
    out += std::string(static_cast<size_t>(indent), ' ') +
           wrap(printable(line), width == kUnlimited ? kUnlimited : std::max(width - indent, 1),
                indent + 2) +
           "\n";
    at = end + 1;
  }
  return out;
}

}  // namespace

std::string header_comment(std::string_view toml) {
  std::string out;
  while (toml.starts_with('#')) {
    const size_t end = std::min(toml.find('\n'), toml.size());
    std::string_view line = toml.substr(1, end - 1);
    toml.remove_prefix(std::min(end + 1, toml.size()));
    const size_t text = std::min(line.find_first_not_of(' '), line.size());
    const bool continues = text >= 3 && !out.empty();
    line.remove_prefix(text);
    if (continues) {
      out.back() = ' ';
    }
    out.append(line).append("\n");
  }
  return out;
}

std::vector<Explanation> explain(const ExplainSources& sources, std::string_view name) {
  std::vector<Explanation> found;
  add_plugins(sources.registry, name, found);
  add_recipes(sources.library, name, found);
  add_role(name, found);
  add_code(name, found);
  add_engine(name, found);
  add_options(sources.registry, name, found);
  return found;
}

std::vector<std::string> explained_names(const ExplainSources& sources) {
  std::vector<std::string> names = {"roles"};
  for (const LoadedPlugin& loaded : sources.registry.plugins())
    names.emplace_back(loaded.plugin->id);
  for_each_component(sources.registry, [&](const LoadedPlugin&, const mopt_component& c) {
    names.emplace_back(c.name);
    for (const mopt_option& o : std::span(c.options, c.n_options))
      names.emplace_back(o.name);
  });
  for (const std::string_view role : all_roles())
    names.emplace_back(role);
  for (const auto& [id, file] : library_files(sources.library))
    names.push_back(file.stem().string());
  for (const CommandSpec& command : commands()) {
    for (const OptionSpec& o : command.options)
      names.emplace_back(o.name);
  }
  for (const CodeEntry& entry : all_codes())
    names.emplace_back(entry.code);
  for (const Engine& e : kEngines)
    names.emplace_back(e.name);
  return names;
}

Exit run_explain(App& app, const ExplainOptions& options) {
  const ExplainSources sources{app.registry(), app.recipe_library()};
  const std::vector<Explanation> found = explain(sources, options.name);
  if (found.empty()) {
    const std::string near = nearest(options.name, explained_names(sources));
    Diagnostic d;
    d.code = "U102";
    d.message = "nothing is called '" + options.name + "'";
    d.remedy = near.empty()
                   ? "'mopt-host plugins' lists components, 'mopt-host explain roles' roles"
                   : "did you mean '" + near + "'?";
    throw Failure(std::move(d));
  }
  std::string kind, text;
  for (const Explanation& e : found) {
    if (kind.find(e.kind) == std::string::npos) kind += (kind.empty() ? "" : ", ") + e.kind;
    text += (text.empty() ? "" : "\n") + e.text;
  }
  Console& console = app.console();
  if (app.json()) {
    console.document(json_page({{"name", options.name}, {"kind", kind}, {"text", text}}));
  } else {
    console.text(wrapped(text, console.width()));
  }
  return Exit::kDone;
}

}  // namespace mopt::cli
