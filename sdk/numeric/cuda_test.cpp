#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "mopt/cuda_nibbles.hpp"

namespace mopt::cuda {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Any mantissa, exponents from `low` to `high`, either sign.
float random_float(std::mt19937& random, int low, int high) {
  const auto mantissa = static_cast<float>(random() % (1u << 23) | 1u << 23);
  const int exponent = low + static_cast<int>(random() % static_cast<unsigned>(high - low + 1));
  return std::ldexp(random() % 2 == 0 ? mantissa : -mantissa, exponent - 23);
}

// What with_divider makes of x / scale.
template <class T>
float quotient(float x, float scale) {
  float q = 0;
  with_divider<T>(scale, std::fabs(x), [&](const auto& divide) { q = divide(x); });
  return q;
}

// The numbers that a code stands for, those half way between two, and the next ones to all of them.
std::vector<float> interesting(const std::vector<float>& values) {
  std::vector<float> out;
  const auto add = [&](float x) {
    for (const float y : {x, std::nextafter(x, 1e9f), std::nextafter(x, -1e9f)}) {
      if (y != 0) out.insert(out.end(), {y, -y});
    }
  };
  for (size_t i = 0; i < values.size(); ++i) {
    add(values[i]);
    if (i > 0) add((values[i] + values[i - 1]) / 2);
  }
  out.insert(out.end(), {0.0f, 1e-44f, -1e-44f, 1e30f, -1e30f});
  while (out.size() % kRun != 0)
    out.push_back(0.0f);
  return out;
}

// Calls fn(run) for the numbers, 16 at a time.
template <class Fn>
void for_runs(const std::vector<float>& x, const Fn& fn) {
  for (size_t i = 0; i < x.size(); i += kRun) {
    float run[kRun];
    std::copy_n(x.begin() + static_cast<int64_t>(i), kRun, run);
    fn(run);
  }
}

const std::vector<float> kE2m1 = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f, 8.0f};

template <class T>
Raw<T> raw_of(const float (&x)[kRun]) {
  alignas(16) T held[kRun];
  for (int i = 0; i < kRun; ++i)
    put(x[i], held[i]);
  return load_run(held);
}

}  // namespace

TEST_CASE("the product with two corrections is the quotient of float32, wherever a code depends") {
  std::mt19937 random(1);
  int wrong = 0;
  for (int i = 0; i < 2'000'000; ++i) {
    float scale = std::fabs(random_float(random, -79, -1));
    // The theorem has an exception for a divisor of ones only, unless its reciprocal is rounded.
    if (i % 16 == 0)
      scale = std::nextafter(std::ldexp(1.0f, static_cast<int>(random() % 78) - 78), 0.0f);
    float x = random_float(random, -11, 20) * scale;
    // Close to the middle of two floats.
    if (i % 4 == 0) {
      const float q = random_float(random, -10, 12);
      const double middle = (double{q} + double{std::nextafter(q, 1e9f)}) / 2;
      x = static_cast<float>(middle * double{scale});
    }
    const float want = x / scale;
    if (std::fabs(want) < 0x1p-10f) continue;
    wrong += quotient<float>(x, scale) != want;
  }
  CHECK(wrong == 0);
}

TEST_CASE("quotients too small for any code stay so, with their sign") {
  std::mt19937 random(2);
  int wrong = 0;
  for (int i = 0; i < 200'000; ++i) {
    const float scale = std::fabs(random_float(random, -80, -1));
    const float x = random_float(random, -149, -30) * (i % 2 == 0 ? 1.0f : 0x1p-20f);
    const float want = x / scale;
    if (std::fabs(want) >= 0x1p-11f) continue;
    const float got = quotient<float>(x, scale);
    wrong += std::fabs(got) > 0x1p-11f || (want < 0) != (got < 0) || (want > 0) != (got > 0);
  }
  CHECK(wrong == 0);
}

TEST_CASE(
    "quotients of bf16 and f16 equal the division, also by scales that rule the product out") {
  std::mt19937 random(3);
  int wrong = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    const float scale =
        std::fabs(random_float(random, i % 8 == 0 ? -140 : -60, i % 8 == 1 ? 60 : 9));
    const float x = round_to<Bf16>(random_float(random, -40, 40)), y = round_to<F16>(x * 0x1p-24f);
    wrong += quotient<Bf16>(x, scale) != x / scale;
    wrong += quotient<F16>(y, scale) != y / scale;
  }
  CHECK(wrong == 0);
  CHECK(quotient<Bf16>(std::numeric_limits<float>::infinity(), 2.0f) ==
        std::numeric_limits<float>::infinity());
  CHECK(quotient<Bf16>(3e38f, 1e-20f) == std::numeric_limits<float>::infinity());
}

TEST_CASE("a run's range is that of its numbers, NaN apart") {
  std::mt19937 random(4);
  for (int i = 0; i < 200; ++i) {
    float x[kRun], most = 0;
    for (float& value : x) {
      value =
          random() % 7 == 0 ? kNan : round_to<Bf16>(round_to<F16>(random_float(random, -20, 3)));
      if (i == 0) value = kNan;
      if (!std::isnan(value)) most = std::max(most, std::fabs(value));
    }
    CHECK(run_absmax(raw_of<float>(x)) == most);
    CHECK(run_absmax(raw_of<Bf16>(x)) == most);
    CHECK(run_absmax(raw_of<F16>(x)) == most);
  }
}

TEST_CASE("eight e2m1 codes at once are those of the scalar rules, next to every tie too") {
  int wrong = 0;
  for_runs(interesting(kE2m1), [&](const float(&x)[kRun]) {
    float no_zero[kRun], bounded[kRun], units[kRun];
    for (int i = 0; i < kRun; ++i) {
      no_zero[i] = x[i] + 0.0f;
      bounded[i] = std::clamp(no_zero[i], -6.99f, 6.99f);
      units[i] = bounded[i] * kE2m1Unit;
    }
    for (int i = 0; i < kRun; ++i) {
      const int first = i / 8 * 8, shift = i % 8 * 4;
      wrong += (e2m1_eight(no_zero, first) >> shift & 15u) != e2m1::encode(no_zero[i]);
      wrong += (e2m1_eight_units(units, first) >> shift & 15u) != e2m1::encode(bounded[i]);
      wrong += (e2m1_eight_tie_to_zero<false>(x, first) >> shift & 15u) !=
               e2m1::encode_tie_to_zero(x[i]);
      wrong += (e2m1_eight_tie_to_zero<true>(bounded, first) >> shift & 15u) !=
               e2m1::encode_tie_to_zero(bounded[i]);
      const float value = e2m1::decode(e2m1::encode(no_zero[i]));
      wrong += std::bit_cast<uint32_t>(e2m1_round(no_zero[i])) != std::bit_cast<uint32_t>(value);
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("eight e2m1 codes in units are those of the scalar rule for random numbers below 7") {
  std::mt19937 random(5);
  int wrong = 0;
  for (int n = 0; n < 100'000; ++n) {
    float x[kRun], units[kRun];
    for (int i = 0; i < kRun; ++i) {
      x[i] = random_float(random, n % 2 == 0 ? -3 : -140, 2);
      if (std::fabs(x[i]) >= 7.0f) x[i] *= 0.5f;
      units[i] = x[i] * kE2m1Unit;
    }
    for (int i = 0; i < kRun; ++i) {
      wrong += (e2m1_eight_units(units, i / 8 * 8) >> (i % 8 * 4) & 15u) != e2m1::encode(x[i]);
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("e2m1 codes of products of bf16 and a power of two are those of the scalar rule") {
  int wrong = 0;
  for (const int exponent : {-2, -1, 0, 3, 20, 126, 127}) {
    const float power = std::ldexp(1.0f, exponent);
    for (uint32_t bits = 0; bits < 0x10000u; bits += 8) {
      float x[kRun];
      for (uint32_t i = 0; i < kRun; ++i) {
        x[i] = bf16::decode(static_cast<uint16_t>(bits + i % 8));
        // Nothing is beyond 6, nor a NaN.
        if (!(std::fabs(x[i] * power) <= 6)) x[i] = 6 / power;
      }
      for (int i = 0; i < kRun; ++i) {
        wrong += (e2m1_eight_products(x, i / 8 * 8, power * 0x1p-14f) >> (i % 8 * 4) & 15u) !=
                 e2m1::encode_tie_to_zero(x[i] * power);
      }
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("the tie rule toward zero takes both zeros to 8") {
  float x[kRun] = {0.0f, -0.0f, 1.0f, -1.0f, 1e-45f, -1e-45f};
  CHECK((e2m1_eight_tie_to_zero<true>(x, 0) & 0xFFFFFFu) == 0x80A288u);
}

TEST_CASE("sixteen e2m1 codes decode to their values, in every place") {
  for (uint32_t turn = 0; turn < 16; ++turn) {
    Nibbles codes{{0, 0}};
    for (uint32_t i = 0; i < kRun; ++i)
      codes.at[i / 8] |= ((i + turn) & 15u) << (i % 8 * 4);
    float x[kRun];
    e2m1_values(codes, x);
    for (uint32_t i = 0; i < kRun; ++i) {
      const float want = e2m1::decode(static_cast<uint8_t>((i + turn) & 15u));
      CHECK(std::bit_cast<uint32_t>(x[i]) == std::bit_cast<uint32_t>(want));
    }
  }
}

}  // namespace mopt::cuda
