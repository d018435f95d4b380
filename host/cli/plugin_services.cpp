#include "host/cli/plugin_services.hpp"

#include "host/cli/signals.hpp"
#include "host/compute/parallel.hpp"

namespace mopt::cli {
namespace {

constexpr mopt_parallel kParallel = {
    sizeof(mopt_parallel), 0,
    [](int64_t n, int64_t grain,
       mopt_error* (*body)(void* ctx, int64_t begin, int64_t end) noexcept, void* ctx) noexcept {
      return guard([&] {
        compute::for_each(n, grain,
                          [&](int64_t begin, int64_t end) { check(body(ctx, begin, end)); });
      });
    }};

// The first interrupt lets the work of a block end; a second one ends the process.
constexpr mopt_progress kProgress = {sizeof(mopt_progress), 0,
                                     []() noexcept -> int32_t { return interrupts().load() > 1; }};

}  // namespace

void install_services(Services& services) {
  services.install(MOPT_PARALLEL_SERVICE, &kParallel);
  services.install(MOPT_PROGRESS_SERVICE, &kProgress);
}

}  // namespace mopt::cli
