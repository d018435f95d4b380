// magnitude.so: the ABI edge of N:M sparsity by magnitude.
#include <array>

#include "magnitude.hpp"
#include "mopt/pruner.hpp"

namespace mopt::magnitude {
namespace {

constexpr std::array kOptions = {
    int_option("n", 2, 1, kLargestGroup - 1, "elements that stay in each group"),
    int_option("m", 4, 2, kLargestGroup, "consecutive elements of a row that form a group")};

constexpr int64_t kTask = 65536;  // elements of a task

class Magnitude {
 public:
  static constexpr const char* name = "magnitude";
  static constexpr const char* summary = "keeps the n largest of every m weights of a row";
  static constexpr std::array options = kOptions;
  static constexpr bool concurrent = true;

  explicit Magnitude(const Settings& settings)
      : pattern_{settings.integer("n"), settings.integer("m")} {
    if (pattern_.n < pattern_.m) return;
    throw Error(MOPT_INVALID_ARGUMENT,
                "n must be below m, found n = " + std::to_string(pattern_.n) +
                    ", m = " + std::to_string(pattern_.m) + "; 2:4 is n = 2, m = 4",
                "n");
  }

  void plan(const mopt_weight_view& w) const {
    real_type(w.dtype);
    if (w.cols % pattern_.m == 0) return;
    throw Error(MOPT_UNSUPPORTED,
                "magnitude needs a multiple of " + std::to_string(pattern_.m) + " columns, found " +
                    std::to_string(w.cols) + "; leave it out with a rule",
                std::string(view(w.name)));
  }

  void mask(const Exec& exec, const mopt_weight_job& job, DLTensor& mask) const {
    const Reals x = reals(*job.weight);
    const int64_t m = pattern_.m;
    exec.for_each(elements(*job.weight) / m, kTask / m, [&](int64_t begin, int64_t end) {
      magnitude::mask(offset(x, begin * m), end - begin, pattern_, data<uint8_t>(mask) + begin * m);
    });
  }

 private:
  Pattern pattern_;
};

}  // namespace
}  // namespace mopt::magnitude

MOPT_PLUGIN("org.mopt.magnitude", "0.1.0", mopt::PrunerComponent<mopt::magnitude::Magnitude>::value)
