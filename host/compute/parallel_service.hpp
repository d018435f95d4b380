// for_each for plugins, as the service MOPT_PARALLEL_SERVICE of the ABI.
#pragma once

#include "host/compute/parallel.hpp"
#include "mopt/error.hpp"
#include "mopt/host.h"

namespace mopt::compute {

inline constexpr mopt_parallel kParallelService = {
    sizeof(mopt_parallel), 0,
    [](int64_t n, int64_t grain,
       mopt_error* (*body)(void* ctx, int64_t begin, int64_t end) noexcept, void* ctx) noexcept {
      return guard([&] {
        for_each(n, grain, [&](int64_t begin, int64_t end) { check(body(ctx, begin, end)); });
      });
    }};

}  // namespace mopt::compute
