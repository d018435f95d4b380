// CalibratorComponent<T>: the vtable of "mopt.calibrator/1" from a plain class.
#pragma once

#include "mopt/calibrator.h"
#include "mopt/plugin.hpp"

namespace mopt {

// T has: name, summary, [options], and
//   std::vector<std::string> plan(const mopt_site&)                        statistics it needs
//   float solve(const Exec&, const mopt_site&, std::span<const mopt_named_tensor> stats)   the
//   range
template <class T>
struct CalibratorComponent {
  static constexpr mopt_calibrator vtable = {
      sizeof(mopt_calibrator),
      0,
      detail::create<T>,
      detail::destroy<T>,
      [](mopt_instance* self, const mopt_site* site, mopt_stat_sink sink) noexcept {
        return guard([&] {
          for (const std::string& stat : detail::self<T>(self).plan(*site)) {
            check(sink.want(sink.ctx, str(stat)));
          }
        });
      },
      [](mopt_instance* self, const mopt_exec* exec, const mopt_site* site,
         const mopt_named_tensor* stats, uint64_t n, mopt_range_sink sink) noexcept {
        return guard([&] {
          check(sink.put(sink.ctx, detail::self<T>(self).solve(Exec(exec), *site, {stats, n})));
        });
      }};
  static constexpr mopt_component value = detail::component<T>(MOPT_CALIBRATOR_INTERFACE, &vtable);
};

}  // namespace mopt
