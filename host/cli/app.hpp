// What every command works with: the console, and plugins that are loaded at their first use.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "host/cli/console.hpp"
#include "host/cli/options.hpp"
#include "host/loader/registry.hpp"

namespace mopt::cli {

class App {
 public:
  // `executable`: where it stands decides where plugins and recipes are looked for. Throws Failure
  // R103 for a device that is not usable, U101 for a plugin directory that is not there.
  App(CommonOptions, Console&, std::filesystem::path executable);

  const CommonOptions& options() const { return options_; }
  Console& console() { return console_; }
  bool json() const { return options_.output == OutputKind::kJson; }

  Services& services() { return services_; }
  // Loads the plugins at the first call. A refused file that --plugin names is a Failure, others
  // are warnings.
  Registry& registry();
  // The same without a word about refused files: for the command that lists them.
  Registry& all_plugins();

  // <prefix>/share/mopt/recipes.
  std::filesystem::path recipe_library() const;

  // Says which device computes and why; for commands that compute.
  void announce_device();

  // What plugins warned of since the last call; they were printed as they came.
  std::vector<Diagnostic> take_warnings();

 private:
  void log(mopt_log_level, std::string_view component, std::string_view message);
  CommonOptions options_;
  Console& console_;
  std::filesystem::path executable_;
  Services services_;
  std::unique_ptr<Registry> registry_;
  enum class Refusals { kUnsaid, kSaid } refusals_ = Refusals::kUnsaid;
  std::mutex mutex_;
  std::vector<Diagnostic> warnings_;
};

Diagnostic diagnostic_of(const Refusal&);

// The file that this process runs.
std::filesystem::path this_executable();

}  // namespace mopt::cli
