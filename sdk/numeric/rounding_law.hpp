// For tests: what "rounds to nearest" means for a small format, from its decode function alone.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace mopt::test {

enum class Tie { kEven, kTowardZero };

// The finite, positive values of a format: codes 0 .. last in rising order.
template <class Decode>
std::vector<float> grid(Decode decode, int last) {
  std::vector<float> values;
  for (int code = 0; code <= last; ++code)
    values.push_back(decode(code));
  return values;
}

// encode maps every grid point to itself, and between two neighbours the change happens at the
// middle, which goes to the even code or toward zero. A monotonic function with this property is
// the rounding.
template <class Encode>
void check_rounds_to_nearest(const std::vector<float>& values, Encode encode, Tie tie) {
  const float inf = std::numeric_limits<float>::infinity();
  for (size_t i = 0; i < values.size(); ++i) {
    CAPTURE(values[i]);
    CHECK(encode(values[i]) == static_cast<int>(i));
    if (i + 1 == values.size()) break;
    CHECK(values[i] < values[i + 1]);
    // Both neighbours have few significant bits, so their middle is a float32.
    const float middle = static_cast<float>((static_cast<double>(values[i]) + values[i + 1]) / 2);
    const bool up = tie == Tie::kEven && i % 2 == 1;
    CHECK(encode(std::nextafter(middle, -inf)) == static_cast<int>(i));
    CHECK(encode(middle) == static_cast<int>(up ? i + 1 : i));
    CHECK(encode(std::nextafter(middle, inf)) == static_cast<int>(i + 1));
  }
}

// encode never falls while x rises over every 101st positive float32.
template <class Encode>
void check_monotonic(Encode encode) {
  int last = 0;
  bool rises = true;
  for (uint32_t bits = 0; bits <= 0x7F800000u; bits += 101) {
    const int code = encode(std::bit_cast<float>(bits));
    rises = rises && code >= last;
    last = code;
  }
  CHECK(rises);
}

}  // namespace mopt::test
