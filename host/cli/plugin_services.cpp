#include "host/cli/plugin_services.hpp"

#include "host/cli/signals.hpp"
#include "host/compute/parallel_service.hpp"

namespace mopt::cli {
namespace {

// The first interrupt lets the work of a block end; a second one ends the process.
constexpr mopt_progress kProgress = {sizeof(mopt_progress), 0,
                                     []() noexcept -> int32_t { return interrupts().load() > 1; }};

}  // namespace

void install_services(Services& services) {
  services.install(MOPT_PARALLEL_SERVICE, &compute::kParallelService);
  services.install(MOPT_PROGRESS_SERVICE, &kProgress);
}

}  // namespace mopt::cli
