#include "host/compute/cast/cast.hpp"

#include "host/compute/test_data.hpp"

using namespace mopt;
using namespace mopt::compute;
using namespace mopt::compute::test;

namespace {

Array converted(std::string_view kernel, const Array& x, DLDataType to) {
  Array y(to, {x->elements()});
  cast(*x, *y, force(kernel));
  CHECK(y.guard_intact());
  return y;
}

// Every bit pattern of a 16-bit type.
Array all_patterns(DLDataType dtype) {
  Array x(dtype, {65536});
  for (int64_t i = 0; i < 65536; ++i)
    x->as<uint16_t>()[i] = static_cast<uint16_t>(i);
  return x;
}

uint32_t bits(const Array& x, int64_t i) {
  return x->as<uint32_t>()[i];
}

// Every value of `dtype` as f32, the middle to its neighbour, and the f32 numbers beside both.
Array ties(DLDataType dtype) {
  const Array values = converted("cast.reference", all_patterns(dtype), kF32);
  Array x(kF32, {6 * 65535});
  for (int64_t i = 0; i < 65535; ++i) {
    const float a = values.at(i), b = values.at(i + 1), middle = a / 2 + b / 2;
    const float inf = std::numeric_limits<float>::infinity();
    const float list[] = {a,
                          middle,
                          std::nextafter(a, inf),
                          std::nextafter(a, -inf),
                          std::nextafter(middle, inf),
                          std::nextafter(middle, -inf)};
    for (int64_t k = 0; k < 6; ++k)
      x.set(6 * i + k, list[k]);
  }
  return x;
}

}  // namespace

TEST_CASE("cast: every kernel gives the bits of the scalar rule, for all patterns and ties") {
  for (const DLDataType half : {kBf16, kF16}) {
    const Array patterns = all_patterns(half), tie = ties(half);
    const auto same_nan = [](float a, float b) { return std::isnan(a) && std::isnan(b); };
    const Array up = converted("cast.highway", patterns, kF32);
    const Array up_reference = converted("cast.reference", patterns, kF32);
    for (int64_t i = 0; i < 65536; ++i) {
      // A signalling NaN may become a quiet one.
      if (bits(up, i) != bits(up_reference, i)) CHECK(same_nan(up.at(i), up_reference.at(i)));
    }
    CHECK(converted("cast.highway", tie, half) == converted("cast.reference", tie, half));
  }
}

TEST_CASE("cast: any NaN stays a NaN of its sign") {
  for (const std::string_view kernel : cast_kernels()) {
    for (const DLDataType half : {kBf16, kF16}) {
      Array x(kF32, {16});
      const uint32_t nans[] = {0x7F800001u, 0x7FFFFFFFu, 0x7FC00000u, 0x7F80FFFFu};
      for (int64_t i = 0; i < 16; ++i) {
        x->as<uint32_t>()[i] = nans[i % 4] | (i % 8 < 4 ? 0u : 0x80000000u);
      }
      const Array y = converted(kernel, x, half);
      for (int64_t i = 0; i < 16; ++i) {
        CAPTURE(i);
        CHECK(std::isnan(y.at(i)));
        CHECK(std::signbit(y.at(i)) == std::signbit(x.at(i)));
      }
    }
  }
}

TEST_CASE("cast: rounding is to the nearest value, a tie to the even pattern") {
  for (const DLDataType half : {kBf16, kF16}) {
    const Array values = converted("cast.reference", all_patterns(half), kF32);
    // Positive finite patterns and their successors.
    for (int64_t i = 0; std::isfinite(values.at(i + 1)); ++i) {
      Array x(kF32, {3});
      const float middle = values.at(i) / 2 + values.at(i + 1) / 2;
      x.set(0, std::nextafter(middle, 0.0f));
      x.set(1, middle);
      x.set(2, std::nextafter(middle, std::numeric_limits<float>::infinity()));
      const Array y = converted("cast.highway", x, half);
      const auto pattern = [&](int64_t k) { return int64_t{y->as<uint16_t>()[k]}; };
      CAPTURE(i);
      // Subnormal bf16 numbers lie so close that the middle may be the value itself.
      if (x.at(0) > values.at(i)) CHECK(pattern(0) == i);
      CHECK(pattern(1) == (i % 2 == 0 ? i : i + 1));
      if (x.at(2) < values.at(i + 1)) CHECK(pattern(2) == i + 1);
    }
  }
}

TEST_CASE("cast: all pairs of types, odd lengths and threads") {
  for (const DLDataType from : {kF32, kBf16, kF16}) {
    for (const DLDataType to : {kF32, kBf16, kF16}) {
      for (const int64_t n : {1, 17, 1000}) {
        const Array x = noise(from, {n}, 1, 100.0f);
        CHECK(converted("cast.highway", x, to) == converted("cast.reference", x, to));
      }
    }
  }
  const Array x = noise(kF32, {300001}, 1);
  check_threads([&] { return converted("cast.highway", x, kBf16); });
}

TEST_CASE("cast: other types and lengths are refused") {
  const Array x(kF32, {3}), y(kBf16, {4}), ids(kI64, {3});
  CHECK_THROWS_WITH_AS(
      cast(*x, *y), "cast: expected f32, bf16 or f16 with the elements of f32 [3], found bf16 [4]",
      Error);
  CHECK_THROWS_AS(cast(*ids, *x), Error);
}
