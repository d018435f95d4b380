#include "host/compute/absmax/absmax.hpp"

#include "host/compute/test_data.hpp"

using namespace mopt;
using namespace mopt::compute;
using namespace mopt::compute::test;

TEST_CASE("absmax: the largest magnitude wherever it stands, and whatever its sign") {
  for (const std::string_view kernel : absmax_kernels()) {
    for (const DLDataType dtype : {kF32, kBf16, kF16}) {
      for (const int64_t n : {1, 7, 64, 65, 1000, 70000}) {
        for (const int64_t at : {int64_t{0}, n / 2, n - 1}) {
          Array x = noise(dtype, {n}, 1);
          x.set(at, -2.5f);
          const AbsMax got = absmax(*x, force(kernel));
          CHECK(got.value == 2.5f);
          CHECK(got.first_not_finite == -1);
        }
      }
    }
  }
}

TEST_CASE("absmax: the first NaN or infinity is named, and does not hide the numbers") {
  const float inf = std::numeric_limits<float>::infinity();
  for (const std::string_view kernel : absmax_kernels()) {
    for (const DLDataType dtype : {kF32, kBf16, kF16}) {
      for (const float bad : {std::nanf(""), -std::nanf(""), inf, -inf}) {
        for (const int64_t at : {0, 100, 66000, 149998}) {
          Array x = noise(dtype, {150000}, 1);
          x.set(3, 1.75f);
          x.set(at, bad);
          x.set(149999, bad);
          const AbsMax got = absmax(*x, force(kernel));
          CHECK(got.first_not_finite == at);
          CHECK(got.value == 1.75f);
        }
      }
    }
  }
}

TEST_CASE("absmax: zeros, subnormals, nothing but NaN, and nothing at all") {
  for (const std::string_view kernel : absmax_kernels()) {
    Array x(kF32, {2});
    CHECK(absmax(*x, force(kernel)).value == 0.0f);
    x.set(1, -1e-45f);
    CHECK(absmax(*x, force(kernel)).value == 1e-45f);
    x.set(0, std::nanf(""));
    x.set(1, std::nanf(""));
    const AbsMax got = absmax(*x, force(kernel));
    CHECK(got.value == 0.0f);
    CHECK(got.first_not_finite == 0);
    CHECK(absmax(*Array(kBf16, {0}), force(kernel)).first_not_finite == -1);
  }
}
