// max.so: the calibrator "max": the range of a site is the largest magnitude that it ever saw.
#include "mopt/calibrator.hpp"

namespace mopt::max {
namespace {

class Max {
 public:
  static constexpr const char* name = "max";
  static constexpr const char* summary = "range = largest magnitude seen in calibration";

  std::vector<std::string> plan(const mopt_site&) { return {MOPT_STAT_ABSMAX}; }

  float solve(const Exec&, const mopt_site& site, std::span<const mopt_named_tensor> stats) {
    if (stats.size() == 1 && view(stats[0].name) == MOPT_STAT_ABSMAX) {
      return *data<float>(*stats[0].tensor);
    }
    throw Error(MOPT_INTERNAL, "max asked for " MOPT_STAT_ABSMAX " and got something else",
                std::string(view(site.name)));
  }
};

}  // namespace
}  // namespace mopt::max

MOPT_PLUGIN("org.mopt.max", "0.1.0", mopt::CalibratorComponent<mopt::max::Max>::value)
