// PrunerComponent<T>: the vtable of "mopt.pruner/1" from a plain class.
#pragma once

#include "mopt/plugin.hpp"
#include "mopt/pruner.h"

namespace mopt {

// T has: name, summary, [options], [concurrent = true], and
//   void plan(const mopt_weight_view&) const                          throws when it cannot
//   void mask(const Exec&, const mopt_weight_job&, DLTensor& mask) const
template <class T>
struct PrunerComponent {
  static constexpr mopt_pruner vtable = {
      sizeof(mopt_pruner),
      0,
      detail::create<T>,
      detail::destroy<T>,
      [](mopt_instance* self, const mopt_weight_view* weight) noexcept {
        return guard([&] { detail::self<T>(self).plan(*weight); });
      },
      [](mopt_instance* self, const mopt_exec* exec, const mopt_weight_job* job,
         DLTensor* mask) noexcept {
        return guard([&] { detail::self<T>(self).mask(Exec(exec), *job, *mask); });
      }};
  static constexpr mopt_component value = detail::component<T>(MOPT_PRUNER_INTERFACE, &vtable);
};

}  // namespace mopt
