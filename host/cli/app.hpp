// What every command works with: the console, and plugins that are loaded at their first use.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "host/cli/console.hpp"
#include "host/cli/options.hpp"
#include "host/cli/process.hpp"
#include "host/compute/device.hpp"
#include "host/compute/dispatch.hpp"
#include "host/compute/parallel.hpp"
#include "host/loader/registry.hpp"

namespace mopt::cli {

class App {
 public:
  // Throws Failure U101 for a plugin directory or a kernel that is not there.
  App(CommonOptions, Console&, const Process&);

  const CommonOptions& options() const { return options_; }
  Console& console() { return console_; }
  bool json() const { return options_.output == OutputKind::kJson; }
  std::istream& input() { return *process_.in; }
  // The threads that were asked for; what computes runs inside of them.
  compute::Threads& threads() { return threads_; }
  // --kernel, and why kernels are passed over with --verbose.
  compute::Options kernels();

  Services& services() { return services_; }
  // Loads the plugins at the first call. A refused file that --plugin names is a Failure, others
  // are warnings.
  Registry& registry();
  // The same without a word about refused files: for the command that lists them.
  Registry& all_plugins();

  // <prefix>/share/mopt/recipes.
  std::filesystem::path recipe_library() const;

  // Where to compute, opened at the first call: NULL is the CPU. Throws Failure R103 for a device
  // that was asked for and is not usable.
  compute::Device* device();
  // Which one that is, and why.
  std::string device_text();
  // Opens it when the command line asks for one, which most commands do before anything else.
  void require_device();
  // Whether device() is likely to be one, without opening it.
  bool expects_device() const;
  // Before a forward: warns when it will be slow on this device for lack of a library.
  void expect_forward();
  // Of this process, what opening the device and its libraries added.
  uint64_t opened_bytes() const { return opened_bytes_; }

  // What plugins and expect_forward warned of since the last call; printed as it came.
  std::vector<Diagnostic> take_warnings();

 private:
  void open_device();
  void warn(Diagnostic);
  void log(mopt_log_level, std::string_view component, std::string_view message);
  CommonOptions options_;
  Console& console_;
  const Process& process_;
  compute::Threads threads_;
  Services services_;
  std::unique_ptr<Registry> registry_;
  std::optional<std::string> device_text_;  // absent: no device was opened yet
  compute::Device* device_ = nullptr;       // lives as long as the process
  uint64_t opened_bytes_ = 0;
  enum class Refusals { kUnsaid, kSaid } refusals_ = Refusals::kUnsaid;
  std::mutex mutex_;
  std::vector<Diagnostic> warnings_;
};

Diagnostic diagnostic_of(const Refusal&);

}  // namespace mopt::cli
