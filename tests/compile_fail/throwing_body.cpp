// Work for the host's threads that may throw.
// expect: invalid (user-defined )?conversion|cannot convert
#include "mopt/host.h"

mopt_error* twice(const mopt_parallel& parallel, float* x, int64_t n) {
  return parallel.for_each(
      n, 1024,
      [](void* ctx, int64_t begin, int64_t end)
#ifdef MOPT_MENDED
          noexcept
#endif
      -> mopt_error* {
            for (int64_t i = begin; i < end; ++i)
              static_cast<float*>(ctx)[i] *= 2;
            return nullptr;
          },
      x);
}
