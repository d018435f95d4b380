#include "host/compute/divergence/divergence.hpp"

#include "host/compute/test_data.hpp"

using namespace mopt;
using namespace mopt::compute;
using namespace mopt::compute::test;

namespace {

struct Found {
  double kl, same;
};

Found of_row(const Array& ours, const Array& reference, std::string_view kernel, int64_t row = 0) {
  std::vector<double> result(static_cast<size_t>(2 * ours->rows()));
  divergence({*ours, *reference, view_of(result.data(), kF64, {ours->rows(), 2})}, force(kernel));
  return {result[static_cast<size_t>(2 * row)], result[static_cast<size_t>(2 * row + 1)]};
}

// In fp64, from the probabilities themselves.
double exact(const Array& ours, const Array& reference, int64_t row) {
  const int64_t v = ours->columns();
  double a = 0, b = 0, kl = 0;
  for (int64_t i = row * v; i < (row + 1) * v; ++i) {
    a += std::exp(double{ours.at(i)});
    b += std::exp(double{reference.at(i)});
  }
  for (int64_t i = row * v; i < (row + 1) * v; ++i) {
    const double q = std::exp(double{ours.at(i)}) / a, p = std::exp(double{reference.at(i)}) / b;
    kl += p * std::log(p / q);
  }
  return kl;
}

}  // namespace

TEST_CASE("divergence: every kernel agrees with the sum over probabilities in fp64") {
  for (const std::string_view kernel : divergence_kernels()) {
    for (const DLDataType dtype : {kF32, kBf16}) {
      for (const int64_t v : {1, 5, 16, 300, 49153}) {
        const Array x = noise(dtype, {3, v}, 1, 4.0f), y = noise(dtype, {3, v}, 2, 4.0f);
        const Tolerance limit = tolerance("divergence", dtype);
        for (int64_t r = 0; r < 3; ++r) {
          const double wanted = exact(x, y, r);
          CAPTURE(v);
          CHECK(std::fabs(of_row(x, y, kernel, r).kl - wanted) <=
                limit.relative * wanted + limit.absolute);
        }
      }
    }
  }
}

TEST_CASE("divergence: none from itself, nor from itself with an offset") {
  for (const std::string_view kernel : divergence_kernels()) {
    const Array x = noise(kF32, {1, 1000}, 1, 4.0f);
    Array y(kF32, {1, 1000});
    for (int64_t i = 0; i < 1000; ++i)
      y.set(i, x.at(i) + 16.0f);
    CHECK(of_row(x, x, kernel).kl == 0);
    CHECK(std::fabs(of_row(x, y, kernel).kl) < 2e-6);
    CHECK(of_row(x, y, kernel).same == 1);
  }
}

TEST_CASE("divergence: of equal logits the first is favoured") {
  for (const std::string_view kernel : divergence_kernels()) {
    Array x(kF32, {1, 20}), y(kF32, {1, 20});
    for (const int64_t at : {4, 9, 17})
      x.set(at, 2.0f);
    y.set(4, 1.0f);
    CHECK(of_row(x, y, kernel).same == 1);
    y.set(17, 1.5f);
    CHECK(of_row(x, y, kernel).same == 0);
  }
}

TEST_CASE("divergence: what the reference rules out adds nothing; what only ours does, all") {
  const float inf = std::numeric_limits<float>::infinity();
  for (const std::string_view kernel : divergence_kernels()) {
    Array x(kF32, {1, 4}), y(kF32, {1, 4});
    y.set(2, -inf);
    y.set(3, -inf);
    CHECK(of_row(x, y, kernel).kl == doctest::Approx(std::log(2.0)));
    CHECK(of_row(y, x, kernel).kl == inf);
    for (const bool ours : {true, false}) {
      Array bad(kF32, {1, 4});
      bad.set(1, std::nanf(""));
      const Found found = ours ? of_row(bad, y, kernel) : of_row(y, bad, kernel);
      CHECK(std::isnan(found.kl));
      CHECK(found.same == 0);
    }
  }
}

TEST_CASE("divergence: rows that are not alike are refused") {
  const Array x(kF32, {1, 20}), y(kF32, {1, 21}), z(kBf16, {1, 20});
  double result[2];
  const View out = view_of(result, kF64, {1, 2});
  CHECK_THROWS_AS(divergence({*x, *y, out}), Error);
  CHECK_THROWS_AS(divergence({*x, *z, out}), Error);
}
