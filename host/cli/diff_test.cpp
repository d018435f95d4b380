#include "host/cli/diff.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

using namespace mopt::cli;

TEST_CASE("equal values differ in nothing, also NaN at the same place") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> x = {1, -2, 0, nan};
  Difference d;
  d.add(x, x);
  CHECK(d.equal());
  CHECK(d.max_abs() == 0);
  CHECK(d.rel_rms() == 0);
}

TEST_CASE("the difference is that of the whole, however it is cut into pieces") {
  const std::vector<float> a = {3, 4, 0, 0}, b = {3, 4, 3, 4};
  Difference whole, pieces;
  whole.add(a, b);
  for (size_t i = 0; i < a.size(); ++i)
    pieces.add(std::span(a).subspan(i, 1), std::span(b).subspan(i, 1));
  for (const Difference& d : {whole, pieces}) {
    CHECK_FALSE(d.equal());
    CHECK(d.max_abs() == 4);
    CHECK(d.rel_rms() == doctest::Approx(1.0));  // ||(0,0,3,4)|| / ||(3,4,0,0)||
  }
}

TEST_CASE("a value that is no number on one side cannot be compared, and the note says so") {
  const std::vector<float> a = {1, 2}, b = {1, std::numeric_limits<float>::infinity()};
  Difference d;
  d.add(a, b);
  CHECK_FALSE(d.equal());
  CHECK(std::isnan(d.max_abs()));
  CHECK_FALSE(d.note().empty());
}

TEST_CASE("zeros of both signs are equal, a zero reference gives an infinite ratio") {
  Difference signs, zero;
  signs.add(std::vector<float>{0.0f}, std::vector<float>{-0.0f});
  CHECK(signs.equal());
  zero.add(std::vector<float>{0}, std::vector<float>{1});
  CHECK(std::isinf(zero.rel_rms()));
}
