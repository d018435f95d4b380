// A pruner without its `mask`.
// expect: has no member named 'mask'
#include "mopt/pruner.hpp"

namespace {

class Half {
 public:
  static constexpr const char* name = "half";
  static constexpr const char* summary = "keeps every second weight";
  void plan(const mopt_weight_view&) const {}
#ifdef MOPT_MENDED
  void mask(const mopt::Exec&, const mopt_weight_job&, DLTensor&) const {}
#endif
};

}  // namespace

MOPT_PLUGIN("org.example.half", "1.0.0", mopt::PrunerComponent<Half>::value)
