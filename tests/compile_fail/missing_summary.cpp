// A component that does not say what it is.
// expect: 'summary' is not a member
#include "mopt/pruner.hpp"

namespace {

class Half {
 public:
  static constexpr const char* name = "half";
#ifdef MOPT_MENDED
  static constexpr const char* summary = "keeps every second weight";
#endif
  void plan(const mopt_weight_view&) const {}
  void mask(const mopt::Exec&, const mopt_weight_job&, DLTensor&) const {}
};

}  // namespace

MOPT_PLUGIN("org.example.half", "1.0.0", mopt::PrunerComponent<Half>::value)
