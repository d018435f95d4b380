#include "host/compute/nll/nll.hpp"

#include "host/compute/test_data.hpp"

using namespace mopt;
using namespace mopt::compute;
using namespace mopt::compute::test;

namespace {

double exact(const Array& x, int64_t row, int64_t target) {
  const int64_t v = x->columns();
  double sum = 0.0;
  for (int64_t i = 0; i < v; ++i)
    sum += std::exp(double{x.at(row * v + i)});
  return std::log(sum) - x.at(row * v + target);
}

}  // namespace

TEST_CASE("nll: every kernel agrees with log of the softmax in fp64") {
  for (const std::string_view kernel : nll_kernels()) {
    for (const DLDataType dtype : {kF32, kBf16}) {
      for (const int64_t v : {1, 5, 16, 300, 49153}) {
        const Array x = noise(dtype, {3, v}, 1, 12.0f);
        const std::vector<int64_t> targets = {0, v / 2, v - 1};
        const std::vector<double> got = nll(*x, targets, force(kernel));
        const Tolerance limit = tolerance("nll", dtype);
        for (int64_t r = 0; r < 3; ++r) {
          const double wanted = exact(x, r, targets[static_cast<size_t>(r)]);
          CAPTURE(v);
          CHECK(std::fabs(got[static_cast<size_t>(r)] - wanted) <=
                limit.relative * wanted + limit.absolute);
        }
      }
    }
  }
}

TEST_CASE("nll: equal logits cost the logarithm of the vocabulary; an offset changes nothing") {
  for (const std::string_view kernel : nll_kernels()) {
    Array x(kF32, {1, 1000});
    for (const float offset : {0.0f, 300.0f, -1e30f}) {
      for (int64_t i = 0; i < 1000; ++i)
        x.set(i, offset);
      CHECK(nll(*x, std::vector<int64_t>{7}, force(kernel))[0] ==
            doctest::Approx(std::log(1000.0)).epsilon(1e-12));
    }
  }
}

TEST_CASE("nll: a token that is ruled out costs nothing to the others; NaN stays NaN") {
  const float inf = std::numeric_limits<float>::infinity();
  for (const std::string_view kernel : nll_kernels()) {
    Array x(kF32, {1, 20});
    for (int64_t i = 2; i < 20; ++i)
      x.set(i, -inf);
    CHECK(nll(*x, std::vector<int64_t>{1}, force(kernel))[0] == doctest::Approx(std::log(2.0)));
    CHECK(nll(*x, std::vector<int64_t>{5}, force(kernel))[0] == inf);
    for (const int64_t at : {0, 17}) {
      Array bad = noise(kF32, {1, 20}, 1);
      bad.set(at, std::nanf(""));
      CHECK(std::isnan(nll(*bad, std::vector<int64_t>{1}, force(kernel))[0]));
    }
  }
}

TEST_CASE("nll: a target outside of the vocabulary is refused") {
  const Array x(kF32, {1, 20});
  CHECK_THROWS_WITH_AS(nll(*x, std::vector<int64_t>{20}),
                       "nll: expected targets from 0 to 19, found 20", Error);
}
