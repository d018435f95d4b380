#include "host/pipeline/run_faults.hpp"

#include <filesystem>
#include <utility>

#include "host/pipeline/failure.hpp"

namespace mopt::pipeline {
namespace {

// A disk with less room than this was full when a write failed.
constexpr uint64_t kFullDisk = uint64_t{64} << 20;

[[noreturn]] void device_failed(const RunRequest& request, const Error& e) {
  fail("R103", "", request.on_device->info().name + ": " + e.what() + "; what is finished is kept",
       "continue with: " + request.resume_command +
           " (on this device when it works again, or on the CPU with --device cpu); when it fails "
           "there again, a plugin's kernel may be at fault: with CUDA_LAUNCH_BLOCKING=1 in the "
           "environment it is noticed at the tensor where that happens");
}

// A file of the output that cannot be written is a matter of the disk, not of the model.
[[noreturn]] void cannot_write(const OutputDirectory& output, const std::string& file,
                               std::string message) {
  if (message.starts_with(file + ": ")) message.erase(0, file.size() + 2);
  fail(output.space() < kFullDisk ? "R102" : "R106", file, std::move(message), "");
}

}  // namespace

Report with_named_faults(const RunRequest& request, const OutputDirectory& output,
                         const std::function<Report()>& execute) {
  const auto ours = [&](const std::string& file) {
    return file.starts_with(output.partial().string());
  };
  try {
    return execute();
  } catch (const Error& e) {
    if (e.code() == MOPT_DEVICE && request.on_device != nullptr) device_failed(request, e);
    if (e.code() != MOPT_IO) throw;
    if (ours(e.where())) cannot_write(output, e.where(), e.what());
    fail("R109", e.where(), e.what(), "");
  } catch (const std::filesystem::filesystem_error& e) {
    if (!ours(e.path1().string())) throw;
    cannot_write(output, e.path1().string(), e.code().message());
  }
}

}  // namespace mopt::pipeline
