// The other tests run what this CPU chooses; here every instruction set below it gets its turn.
#include "host/compute/simd.hpp"

#include <hwy/highway.h>

#include "host/compute/absmax/absmax.hpp"
#include "host/compute/activation/activation.hpp"
#include "host/compute/attention/attention.hpp"
#include "host/compute/cast/cast.hpp"
#include "host/compute/elementwise/elementwise.hpp"
#include "host/compute/nll/nll.hpp"
#include "host/compute/rms_norm/rms_norm.hpp"
#include "host/compute/rope/rope.hpp"
#include "host/compute/test_data.hpp"

using namespace mopt;
using namespace mopt::compute;
using namespace mopt::compute::test;

namespace {

// While it lives, Highway kernels run as on a CPU that knows `target` and nothing above it.
class Only {
 public:
  explicit Only(int64_t target) { hwy::DisableTargets(target - 1); }
  ~Only() { hwy::DisableTargets(0); }
  Only(const Only&) = delete;
  Only& operator=(const Only&) = delete;
};

// Calls check(options for the chosen kernel, options for the reference).
void with_both(std::string_view op, const std::function<Array(const Options&)>& run) {
  const std::string name(op);
  const Array expected = run(force(name + ".reference"));
  for (const int64_t target : {HWY_AVX3, HWY_AVX2}) {
    if ((hwy::SupportedTargets() & target) == 0) continue;
    const Only only(target);
    CAPTURE(hwy::TargetName(target));
    check_close(op, run(force(name + ".highway")), expected);
  }
}

}  // namespace

TEST_CASE("simd: every instruction set agrees with the reference") {
  for (const DLDataType dtype : {kF32, kBf16}) {
    const Array x = noise(dtype, {2, 33, 3, 40}, 1, 3.0f), z = noise(dtype, {2, 33, 3, 40}, 2);
    const auto like_x = [&] { return Array(dtype, {2, 33, 3, 40}); };
    for (const char* kind : {"silu", "gelu", "gelu_tanh", "relu"}) {
      with_both("activation", [&](const Options& o) {
        Array y = like_x();
        activation({activation_kind(kind), *x, *y}, o);
        return y;
      });
    }
    with_both("elementwise", [&](const Options& o) {
      Array y = like_x();
      mul(*x, *z, *y, o);
      add(*y, *z, *y, o);
      return y;
    });
    with_both("rms_norm", [&](const Options& o) {
      Array y = like_x();
      rms_norm({*x, *noise(dtype, {40}, 3), 1e-6f, *y}, o);
      return y;
    });
    with_both("rope", [&](const Options& o) {
      RopeAttrs attrs;
      attrs.rotary_dim = 40;
      std::vector<int64_t> at(66, 17);
      const RopeAngles angles =
          rope_angles(make_rope_table(attrs), view_of(at.data(), kI64, {2, 33}), dtype);
      Array y = like_x();
      rope({*x, &angles, *y}, o);
      return y;
    });
    with_both("attention", [&](const Options& o) {
      Array y = like_x();
      attention({*x, *x, *z, 0.15f, 20, *y}, o);
      return y;
    });
    with_both("nll", [&](const Options& o) {
      Array y(kF32, {198});
      const std::vector<double> costs = nll(*x, std::vector<int64_t>(198, 7), o);
      for (int64_t i = 0; i < 198; ++i)
        y.set(i, static_cast<float>(costs[static_cast<size_t>(i)]));
      return y;
    });
  }
}

TEST_CASE("simd: every instruction set casts and finds the largest magnitude alike") {
  const Array x = noise(kF32, {1001}, 1, 70000.0f);
  for (const int64_t target : {HWY_AVX3, HWY_AVX2}) {
    if ((hwy::SupportedTargets() & target) == 0) continue;
    for (const DLDataType to : {kBf16, kF16}) {
      Array got(to, {1001}), expected(to, {1001});
      cast(*x, *expected, force("cast.reference"));
      const AbsMax wanted = absmax(*expected, force("absmax.reference"));
      const Only only(target);
      cast(*x, *got, force("cast.highway"));
      CHECK(got == expected);
      const AbsMax found = absmax(*got, force("absmax.highway"));
      CHECK(found.value == wanted.value);
      CHECK(found.first_not_finite == wanted.first_not_finite);
    }
  }
}

TEST_CASE("simd: a CPU with none of the instruction sets is left to the references") {
  const Only only(HWY_SCALAR);
  CHECK_FALSE(has_simd());
  const Array x = noise(kF32, {5}, 1);
  std::string reason;
  Options options;
  options.trace = [&](std::string_view, std::string_view why) { reason = why; };
  Array y(kF32, {5});
  activation({Activation::kRelu, *x, *y}, options);
  CHECK(reason == "this CPU has none of the instruction sets it is compiled for");
}
