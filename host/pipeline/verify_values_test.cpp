#include "host/pipeline/verify_values.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <vector>

#include "host/pipeline/pipeline_test.hpp"

namespace mopt::pipeline::test {
namespace {

std::span<const std::byte> bytes_of(const std::vector<uint8_t>& codes) {
  return std::as_bytes(std::span(codes));
}

int64_t element(const std::optional<BadValue>& bad) {
  return bad ? bad->element : -1;
}

TEST_CASE("every code of a scale is judged by its value, wherever it stands") {
  for (const size_t place : {0, 1, 1023, 1024, 1030, 2999}) {
    for (int code = 0; code < 256; ++code) {
      CAPTURE(place);
      CAPTURE(code);
      std::vector<uint8_t> codes(3000, 0x38);  // 1.0 in e4m3
      codes[place] = static_cast<uint8_t>(code);
      const double value = e4m3(static_cast<uint8_t>(code));
      const bool sound = std::isfinite(value) && value > 0;
      const auto found = first_bad_scale(kE4m3, bytes_of(codes));
      CHECK(element(found) == (sound ? -1 : static_cast<int64_t>(place)));
      if (found && !std::isnan(value)) CHECK(found->value == value);
      CHECK(element(first_bad_scale(kU8, bytes_of(codes))) ==
            (code == 0xFF ? static_cast<int64_t>(place) : -1));
      CHECK(element(first_not_finite(kE4m3, bytes_of(codes))) ==
            (std::isnan(value) ? static_cast<int64_t>(place) : -1));
      CHECK(element(first_not_finite(kU8, bytes_of(codes))) == -1);
      CHECK(largest_e4m3(bytes_of(codes)) == (value > 1 ? value : 1));
    }
  }
  CHECK(largest_e4m3({}) == 0);
}

TEST_CASE("of several bad values the first is named") {
  std::vector<uint8_t> codes(5000, 0x38);
  codes[4000] = codes[2048] = codes[2050] = 0x7F;
  CHECK(element(first_not_finite(kE4m3, bytes_of(codes))) == 2048);
  CHECK(element(first_bad_scale(kE4m3, bytes_of(codes))) == 2048);
  std::vector<float> scales(100, 0.5f);
  scales[70] = -1, scales[30] = 0;
  CHECK(element(first_bad_scale(kF32, std::as_bytes(std::span(scales)))) == 30);
  scales[10] = NAN;
  CHECK(element(first_bad_scale(kF32, std::as_bytes(std::span(scales)))) == 10);
  CHECK(element(first_not_finite(kF32, std::as_bytes(std::span(scales)))) == 10);
}

TEST_CASE("a pruned element is zero, every other is the source's") {
  const std::vector<uint8_t> theirs{1, 0, 2, 0, 3, 0, 4, 5};
  CHECK(first_not_kept(2, bytes_of({1, 0, 0, 0, 3, 0, 0, 0}), bytes_of(theirs)) == -1);
  CHECK(first_not_kept(2, bytes_of({1, 0, 0, 0, 3, 0, 4, 0}), bytes_of(theirs)) == 3);
  CHECK(first_not_kept(2, bytes_of({0, 1, 0, 0, 3, 0, 4, 5}), bytes_of(theirs)) == 0);
}

}  // namespace
}  // namespace mopt::pipeline::test
