// threshold: sets every weight to zero whose magnitude is below a share of the tensor's largest.
#include <mopt/numeric/bf16.hpp>
#include <mopt/pruner.hpp>

#include <cmath>

namespace {

class Threshold {
 public:
  static constexpr const char* name = "threshold";
  static constexpr const char* summary = "zeroes weights below a share of the largest magnitude";
  static constexpr bool concurrent = true;
  static constexpr mopt_option options[] = {
      mopt::float_option("share", 0.01, 0.0, 1.0, "of the tensor's largest magnitude")};

  explicit Threshold(const mopt::Settings& settings)
      : share_(static_cast<float>(settings.number("share"))) {}

  // Says why a weight cannot be pruned; no weight is read yet.
  void plan(const mopt_weight_view& weight) const {
    if (mopt::same(weight.dtype, mopt::kBf16) || mopt::same(weight.dtype, mopt::kF32)) return;
    throw mopt::Error(MOPT_UNSUPPORTED,
                      "threshold reads bf16 and f32, found " + mopt::dtype_name(weight.dtype) +
                          "; leave it out with a rule",
                      std::string(mopt::view(weight.name)));
  }

  // mask [rows, cols] u8: 1 stays, 0 becomes zero.
  void mask(const mopt::Exec& exec, const mopt_weight_job& job, DLTensor& mask) const {
    const float limit = share_ * job.absmax;
    const bool bf16 = mopt::same(job.weight->dtype, mopt::kBf16);
    exec.for_each(mopt::elements(mask), 65536, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const float x = bf16 ? mopt::bf16::decode(mopt::data<uint16_t>(*job.weight)[i])
                             : mopt::data<float>(*job.weight)[i];
        mopt::data<uint8_t>(mask)[i] = std::fabs(x) >= limit;
      }
    });
  }

 private:
  float share_;
};

}  // namespace

MOPT_PLUGIN("org.example.threshold", "1.0.0", mopt::PrunerComponent<Threshold>::value)
