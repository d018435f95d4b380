#include "host/cli/app.hpp"

#include <algorithm>
#include <utility>

#include "host/cli/arguments.hpp"
#include "host/cli/plugin_services.hpp"
#include "host/compute/device_library.hpp"
#include "host/compute/kernels.hpp"
#include "host/compute/memory.hpp"
#include "host/report/version.hpp"

namespace mopt::cli {
namespace {

namespace fs = std::filesystem;

void check_directories(const std::vector<fs::path>& directories) {
  for (const fs::path& dir : directories) {
    std::error_code failed;
    if (fs::is_directory(dir, failed)) continue;
    usage_error("--plugin-dir: '" + dir.string() + "' is not a directory", "check the path");
  }
}

void check_kernels(const std::vector<std::string>& kernels) {
  const auto known = compute::all_kernels();
  const std::vector<std::string> names(known.begin(), known.end());
  for (const std::string& kernel : kernels) {
    if (std::ranges::find(names, kernel) != names.end()) continue;
    const std::string near = nearest(kernel, names);
    usage_error("--kernel: there is no kernel '" + kernel + "'",
                near.empty() ? "leave it out: the choice is made for each operation"
                             : "did you mean '" + near + "'?");
  }
}

// What this process holds more than `before`, bytes.
uint64_t grown_since(uint64_t before) {
  const uint64_t now = compute::resident_bytes();
  return now - std::min(before, now);
}

bool is_named(const Refusal& refusal, const std::vector<fs::path>& files) {
  std::error_code failed;
  return std::ranges::any_of(files, [&](const fs::path& file) {
    return fs::absolute(file) == refusal.file || fs::equivalent(file, refusal.file, failed);
  });
}

}  // namespace

Diagnostic diagnostic_of(const Refusal& refusal) {
  Diagnostic d;
  d.code = refusal.code;
  d.file = refusal.file.string();
  d.message = refusal.reason;
  return d;
}

App::App(CommonOptions options, Console& console, const Process& process)
    : options_(std::move(options)),
      console_(console),
      process_(process),
      threads_(options_.threads),
      services_(std::string(version()),
                [this](mopt_log_level level, std::string_view component, std::string_view message) {
                  log(level, component, message);
                }) {
  check_directories(options_.plugin_dirs);
  check_kernels(options_.kernels);
  install_services(services_);
}

compute::Options App::kernels() {
  compute::Options kernels{options_.kernels, {}, nullptr};
  if (options_.verbosity == Verbosity::kVerbose) {
    kernels.trace = [this](std::string_view kernel, std::string_view reason) {
      console_.detail("kernel " + std::string(kernel) + " passed over: " + std::string(reason));
    };
  }
  return kernels;
}

Registry& App::all_plugins() {
  if (registry_ == nullptr) {
    registry_ = std::make_unique<Registry>(
        default_search(options_.plugins, options_.plugin_dirs, process_.executable), services_);
  }
  return *registry_;
}

Registry& App::registry() {
  Registry& registry = all_plugins();
  if (std::exchange(refusals_, Refusals::kSaid) == Refusals::kSaid) return registry;
  std::vector<Diagnostic> named;
  for (const Refusal& refusal : registry.refused()) {
    if (is_named(refusal, options_.plugins)) {
      named.push_back(diagnostic_of(refusal));
      continue;
    }
    Diagnostic warning = diagnostic_of(refusal);
    warning.message = "left out (" + refusal.code + "): " + refusal.reason;
    warning.code = "W106";
    warning.severity = Severity::kWarning;
    console_.report(warning);
  }
  if (!named.empty()) throw Failure(std::move(named));
  return registry;
}

fs::path App::recipe_library() const {
  return process_.executable.parent_path().parent_path() / "share/mopt/recipes";
}

void App::open_device() {
  if (options_.device == "cpu") {
    device_text_ = "cpu: as asked";
    return;
  }
  const bool asked = options_.device != "auto";
  const int index = options_.device.starts_with("cuda:") ? std::stoi(options_.device.substr(5)) : 0;
  const uint64_t before = compute::resident_bytes();
  try {
    device_ = &compute::open_cuda(process_.executable, index);
  } catch (const Error& e) {
    if (!asked) {
      device_text_ = std::string("cpu: ") + e.what();
      return;
    }
    Diagnostic d;
    d.code = "R103";
    d.message = "--device " + options_.device + ": " + e.what();
    throw Failure(std::move(d));
  }
  opened_bytes_ += grown_since(before);
  if (options_.device_memory_limit)
    device_->set_limit(static_cast<int64_t>(*options_.device_memory_limit));
  const compute::DeviceInfo& info = device_->info();
  device_text_ = "cuda:" + std::to_string(info.index) + ": " + info.name + ", " + info.driver +
                 (asked ? ", as asked" : ", usable");
}

void App::require_device() {
  if (options_.device.starts_with("cuda") && !device_text_) open_device();
}

bool App::expects_device() const {
  if (options_.device == "auto") return compute::cuda_may_open(process_.executable);
  return options_.device != "cpu";
}

compute::Device* App::device() {
  if (!device_text_) open_device();
  return device_;
}

std::string App::device_text() {
  if (!device_text_) open_device();
  return *device_text_;
}

void App::expect_forward() {
  if (device() == nullptr) return;
  const uint64_t before = compute::resident_bytes();
  const std::string slow = device_->slow_forward();
  opened_bytes_ += grown_since(before);
  if (slow.empty()) return;
  Diagnostic d;
  d.code = "W117";
  d.severity = Severity::kWarning;
  d.message = slow;
  d.remedy =
      "put cuDNN 9 where the loader finds libcudnn.so.9, and this build's libmopt_cudnn.so beside "
      "libmopt_cuda.so";
  warn(std::move(d));
}

std::vector<Diagnostic> App::take_warnings() {
  const std::lock_guard lock(mutex_);
  return std::exchange(warnings_, {});
}

void App::log(mopt_log_level level, std::string_view component, std::string_view message) {
  const std::string line = std::string(component) + ": " + std::string(message);
  if (level < MOPT_LOG_WARN) return console_.detail(printable(line));
  Diagnostic d;
  d.code = "W115";
  d.severity = Severity::kWarning;
  d.tensor = component;
  d.message = message;
  warn(std::move(d));
}

void App::warn(Diagnostic d) {
  console_.report(d);
  const std::lock_guard lock(mutex_);
  warnings_.push_back(std::move(d));
}

}  // namespace mopt::cli
