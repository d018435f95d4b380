#include "host/compute/attention/attention.hpp"

#include "host/compute/test_data.hpp"

using namespace mopt;
using namespace mopt::compute;
using namespace mopt::compute::test;

namespace {

struct Extents {
  int64_t b, t, s, h, k, d, window;
};
// Single tokens, odd lengths and head sizes, grouped heads, a cache (S > T), windows, many tiles.
constexpr Extents kExtents[] = {
    {1, 1, 1, 1, 1, 8, 0},     {2, 7, 7, 3, 1, 24, 0},      {1, 1, 129, 9, 3, 64, 0},
    {1, 65, 65, 4, 4, 33, 0},  {2, 130, 130, 9, 3, 64, 0},  {1, 200, 261, 8, 1, 128, 0},
    {1, 70, 70, 6, 2, 80, 16}, {1, 300, 300, 2, 1, 64, 65}, {1, 3, 90, 2, 2, 48, 1},
    {1, 40, 40, 2, 2, 256, 7}, {1, 17, 1100, 5, 5, 16, 0}};

struct Inputs {
  Array q, k, v;
};

Inputs inputs(const Extents& e, DLDataType dtype) {
  return {noise(dtype, {e.b, e.t, e.h, e.d}, 1, 2.0f), noise(dtype, {e.b, e.s, e.k, e.d}, 2, 2.0f),
          noise(dtype, {e.b, e.s, e.k, e.d}, 3)};
}

Array attend(std::string_view kernel, const Extents& e, const Inputs& in) {
  Array y(in.q->dtype, {e.b, e.t, e.h, e.d});
  const float scale = 1.0f / std::sqrt(static_cast<float>(e.d));
  attention({*in.q, *in.k, *in.v, scale, e.window, *y}, force(kernel));
  return y;
}

// False for the one row that depends on the type and on the CPU.
bool runs(std::string_view kernel, DLDataType dtype) {
  const Array x(dtype, {1, 1, 1, 1});
  return kernel != "attention.avx512_bf16" ||
         attention_avx512_bf16_refuses({*x, *x, *x, 1.0f, 0, *x}).empty();
}

// One output element in fp64, without any rounding in between.
double exact(const Extents& e, const Inputs& in, const std::array<int64_t, 4>& at) {
  const auto [b, t, h, i] = at;
  const int64_t position = e.s - e.t + t, kv = h / (e.h / e.k);
  double sum = 0.0, out = 0.0;
  for (int64_t j = 0; j <= position; ++j) {
    if (e.window > 0 && position - j >= e.window) continue;
    double dot = 0.0;
    const int64_t row = ((b * e.s + j) * e.k + kv) * e.d;
    for (int64_t c = 0; c < e.d; ++c) {
      dot += double{in.q.at(((b * e.t + t) * e.h + h) * e.d + c)} * in.k.at(row + c);
    }
    const double p = std::exp(dot / std::sqrt(static_cast<double>(e.d)));
    sum += p;
    out += p * in.v.at(row + i);
  }
  return out / sum;
}

}  // namespace

TEST_CASE("attention: the reference agrees with sums in fp64") {
  for (const Extents& e : {Extents{2, 7, 9, 4, 2, 24, 0}, Extents{1, 12, 12, 3, 1, 16, 4}}) {
    for (const DLDataType dtype : {kF32, kBf16}) {
      const Inputs in = inputs(e, dtype);
      Array expected(dtype, {e.b, e.t, e.h, e.d});
      for (int64_t i = 0; i < expected->elements(); ++i) {
        const int64_t head = i / e.d;
        expected.set(i, static_cast<float>(exact(
                            e, in, {head / (e.t * e.h), head / e.h % e.t, head % e.h, i % e.d})));
      }
      check_close("attention", attend("attention.reference", e, in), expected);
    }
  }
}

TEST_CASE("attention: every kernel agrees with the reference") {
  for (const std::string_view kernel : attention_kernels()) {
    for (const DLDataType dtype : {kF32, kBf16}) {
      if (!runs(kernel, dtype)) continue;
      for (const Extents& e : kExtents) {
        CAPTURE(e.t);
        CAPTURE(e.s);
        CAPTURE(e.d);
        const Inputs in = inputs(e, dtype);
        check_close("attention", attend(kernel, e, in), attend("attention.reference", e, in));
      }
    }
  }
}

TEST_CASE("attention: large scores do not overflow, and one key gives its value back") {
  for (const std::string_view kernel : attention_kernels()) {
    if (!runs(kernel, kBf16)) continue;
    const Extents e{1, 20, 20, 1, 1, 16, 1};
    Inputs in = inputs(e, kBf16);
    for (int64_t i = 0; i < in.q->elements(); ++i)
      in.q.set(i, 1e4f * in.q.at(i));
    CHECK(attend(kernel, e, in) == in.v);
  }
}

TEST_CASE("attention: a scale that is not positive is left to the reference") {
  const Extents e{1, 5, 5, 2, 1, 16, 0};
  const Inputs in = inputs(e, kF32);
  Array y(kF32, {1, 5, 2, 16});
  std::vector<std::string> refused;
  Options options;
  options.trace = [&](std::string_view kernel, std::string_view) { refused.emplace_back(kernel); };
  attention({*in.q, *in.k, *in.v, 0.0f, 0, *y}, options);
  CHECK(refused == std::vector<std::string>{"attention.avx512_bf16", "attention.highway"});
  // All keys count alike: the mean of the values.
  double mean = 0.0;
  for (int64_t j = 0; j < 5; ++j)
    mean += in.v.at(j * 16) / 5.0;
  CHECK(y.at(4 * 32) == doctest::Approx(mean));
}

TEST_CASE("attention: what comes later does not matter") {
  for (const std::string_view kernel : attention_kernels()) {
    if (!runs(kernel, kBf16)) continue;
    const Extents e{1, 100, 100, 2, 1, 32, 0};
    Inputs in = inputs(e, kBf16);
    const Array before = attend(kernel, e, in);
    for (int64_t i = 60 * 32; i < 100 * 32; ++i)
      in.k.set(i, 9.0f), in.v.set(i, -9.0f);
    const Array after = attend(kernel, e, in);
    for (int64_t i = 0; i < 60 * 64; ++i)
      CHECK(before.at(i) == after.at(i));
  }
}

TEST_CASE("attention: threads do not matter") {
  const Extents e{2, 130, 130, 6, 2, 64, 0};
  for (const DLDataType dtype : {kF32, kBf16}) {
    const Inputs in = inputs(e, dtype);
    for (const std::string_view kernel : attention_kernels()) {
      if (runs(kernel, dtype)) check_threads([&] { return attend(kernel, e, in); });
    }
  }
}

TEST_CASE("attention: shapes that do not fit are refused") {
  const Array q(kBf16, {1, 4, 3, 8}), k(kBf16, {1, 4, 2, 8}), y(kBf16, {1, 4, 3, 8});
  CHECK_THROWS_WITH_AS(attention({*q, *k, *k, 1.0f, 0, *y}),
                       "attention: expected keys of 1 sequences of at least 4 positions, with a "
                       "divisor of 3 heads of 8, found bf16 [1, 4, 2, 8]",
                       Error);
}
