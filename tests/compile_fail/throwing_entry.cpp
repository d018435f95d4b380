// An entry that may throw: the header declares it noexcept.
// expect: different exception specifier
#include "mopt/plugin.h"

MOPT_EXPORT const mopt_plugin* mopt_plugin_entry_v0(void)
#ifdef MOPT_MENDED
    noexcept
#endif
{
  return nullptr;
}
