// A function of the ABI that may throw.
// expect: invalid (user-defined )?conversion|cannot convert
#include "mopt/pruner.h"

namespace {

mopt_error* create(const mopt_host*, const mopt_setting*, uint64_t, mopt_instance** out)
#ifdef MOPT_MENDED
    noexcept
#endif
{
  *out = nullptr;
  return nullptr;
}

}  // namespace

const mopt_pruner vtable = {sizeof(mopt_pruner), 0, create, nullptr, nullptr, nullptr};
