#include "host/compute/linear/linear.hpp"

#include <limits>

#include "host/compute/onednn.hpp"
#include "host/compute/test_data.hpp"

using namespace mopt;
using namespace mopt::compute;
using namespace mopt::compute::test;

namespace {

struct Extents {
  int64_t m, k, n;
};
// Odd ones, one row, several tiles of 128 rows and several slices of 256 columns.
constexpr Extents kExtents[] = {{1, 1, 1},      {7, 24, 5},     {1, 100, 33},  {33, 7, 257},
                                {128, 64, 256}, {300, 40, 520}, {65, 4096, 24}};

Array product(std::string_view kernel, const Array& x, const Array& weight, const View* bias) {
  Array y(x->dtype, {x->shape[0], weight->shape[0]});
  linear(*x, *weight, bias, *y, force(kernel));
  CHECK(y.guard_intact());
  return y;
}

// The first rows of x.
Array head(const Array& x, int64_t rows) {
  Array out(x->dtype, {rows, x->shape[1]});
  std::memcpy(out->data, x->data, static_cast<size_t>(out->bytes()));
  return out;
}

// False for rows that do not take the type, or need a CPU with bf16 products.
bool runs(std::string_view kernel, DLDataType dtype) {
  const Array weight(dtype, {1, 1});
  const LinearProblem problem{*weight, std::nullopt};
  if (kernel == "linear.onednn") return linear_onednn_refuses(problem).empty();
  return kernel != "linear.onednn_f32" || linear_onednn_f32_refuses(problem).empty();
}

// Codes of any value, but NaN.
Array some_codes(std::initializer_list<int64_t> shape, uint64_t seed) {
  Array out(kE4m3, shape);
  auto* codes = out->as<uint8_t>();
  const Array random = noise(kF32, {out->elements()}, seed, 127.0f);
  for (int64_t i = 0; i < out->elements(); ++i) {
    const auto magnitude = static_cast<uint8_t>(std::fabs(random.at(i)));
    codes[i] = static_cast<uint8_t>((random.at(i) < 0 ? 0x80 : 0) | std::min<int>(magnitude, 0x7E));
  }
  return out;
}

// What a code stands for, by the format's definition.
double value_of(uint8_t code) {
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  if (exponent == 15 && mantissa == 7) return std::numeric_limits<double>::quiet_NaN();
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  return code & 0x80 ? -magnitude : magnitude;
}

struct CodesOperands {
  Array x, weight, x_scales, weight_scales, bias;
};

// y by sums in fp64; what follows them is rounded as the op promises.
Array expected_of(const CodesOperands& o, const View* bias, DLDataType dtype) {
  const int64_t m_end = o.x->rows(), n_end = o.weight->rows(), k_end = o.x->columns();
  const auto *x = o.x->as<uint8_t>(), *weight = o.weight->as<uint8_t>();
  const auto scale = [](const Array& scales, int64_t row) {
    return scales.at(scales->elements() == 1 ? 0 : row);
  };
  Array y(dtype, {m_end, n_end});
  for (int64_t m = 0; m < m_end; ++m) {
    for (int64_t n = 0; n < n_end; ++n) {
      double sum = 0;
      for (int64_t k = 0; k < k_end; ++k)
        sum += value_of(x[m * k_end + k]) * value_of(weight[n * k_end + k]);
      const float scaled =
          static_cast<float>(sum) * scale(o.x_scales, m) * scale(o.weight_scales, n);
      y.set(m * n_end + n, bias == nullptr ? scaled : scaled + o.bias.at(n));
    }
  }
  return y;
}

// The sentence that a product of codes is refused with.
std::string refusal(const Codes& x, const Codes& weight, const View* bias, const View& y,
                    const Options& options = {}) {
  try {
    linear(x, weight, bias, y, options);
  } catch (const Error& e) {
    return e.what();
  }
  return "none";
}

}  // namespace

TEST_CASE("linear: of codes, the reference agrees with sums in fp64 over the format's table") {
  constexpr int64_t kM = 5, kN = 9, kK = 130;
  for (const DLDataType dtype : {kF32, kBf16}) {
    for (const int64_t x_scales : {int64_t{1}, kM}) {
      for (const int64_t weight_scales : {int64_t{1}, kN}) {
        const CodesOperands o{some_codes({kM, kK}, 1), some_codes({kN, kK}, 2),
                              noise(kF32, {x_scales}, 3), noise(kF32, {weight_scales}, 4),
                              noise(dtype, {kN}, 5, 1000.0f)};
        for (const View* bias : {static_cast<const View*>(nullptr), &*o.bias}) {
          Array y(dtype, {kM, kN});
          linear(Codes{*o.x, *o.x_scales}, Codes{*o.weight, *o.weight_scales}, bias, *y);
          CHECK(y.guard_intact());
          CHECK(y == expected_of(o, bias, dtype));
        }
      }
    }
  }
}

TEST_CASE("linear: of codes, more dimensions of x are rows, and there may be none") {
  const Array x = some_codes({6, 40}, 1), weight = some_codes({3, 40}, 2);
  const Array scales = noise(kF32, {6}, 3), one = noise(kF32, {1}, 4);
  Array flat(kF32, {6, 3}), deep(kF32, {6, 3});
  linear(Codes{*x, *scales}, Codes{*weight, *one}, nullptr, *flat);
  linear(Codes{view_of(x->data, kE4m3, {2, 3, 40}), view_of(scales->data, kF32, {2, 3})},
         Codes{*weight, *one}, nullptr, view_of(deep->data, kF32, {2, 3, 3}));
  CHECK(deep == flat);
  Array nothing(kF32, {0, 3});
  linear(Codes{view_of(x->data, kE4m3, {0, 40}), view_of(scales->data, kF32, {0})},
         Codes{*weight, *one}, nullptr, *nothing);
  CHECK(nothing.guard_intact());
}

TEST_CASE("linear: of codes, sums of no products are the bias") {
  const Array none(kE4m3, {2, 0}), one = noise(kF32, {1}, 3), bias = noise(kF32, {2}, 4);
  Array y(kF32, {2, 2});
  linear(Codes{*none, *one}, Codes{*none, *one}, &*bias, *y);
  for (int64_t i = 0; i < 4; ++i)
    CHECK(y.at(i) == bias.at(i % 2));
}

TEST_CASE("linear: a NaN among codes or scales is NaN in its row or column, nowhere else") {
  const Array x = some_codes({5, 16}, 1), weight = some_codes({4, 16}, 2);
  Array x_scales = noise(kF32, {5}, 3);
  const Array one = noise(kF32, {1}, 4);
  x->as<uint8_t>()[1 * 16 + 7] = 0x7F;
  weight->as<uint8_t>()[2 * 16 + 15] = 0xFF;
  x_scales.set(4, std::numeric_limits<float>::quiet_NaN());
  Array y(kBf16, {5, 4});
  linear(Codes{*x, *x_scales}, Codes{*weight, *one}, nullptr, *y);
  for (int64_t m = 0; m < 5; ++m) {
    for (int64_t n = 0; n < 4; ++n)
      CHECK(std::isnan(y.at(m * 4 + n)) == (m == 1 || m == 4 || n == 2));
  }
}

TEST_CASE("linear: of codes, threads do not matter") {
  const Array x = some_codes({200, 96}, 1), weight = some_codes({30, 96}, 2);
  const Array scales = noise(kF32, {200}, 3), one = noise(kF32, {1}, 4);
  check_threads([&] {
    Array y(kBf16, {200, 30});
    linear(Codes{*x, *scales}, Codes{*weight, *one}, nullptr, *y);
    return y;
  });
}

TEST_CASE("linear: codes that do not fit are refused with what was expected and found") {
  const Array x = some_codes({5, 16}, 1), weight = some_codes({3, 16}, 2), one(kF32, {1});
  const Array y(kBf16, {5, 3}), three(kF32, {3}), bf16(kBf16, {3}), wide = some_codes({5, 17}, 1);
  const Codes good_x{*x, *one}, good_weight{*weight, *one};
  CHECK(refusal(good_x, good_weight, nullptr, *y) == "none");
  CHECK(refusal({*bf16, *one}, good_weight, nullptr, *y) ==
        "linear: expected codes in e4m3, found bf16 [3]");
  CHECK(refusal({*wide, *one}, good_weight, nullptr, *y) ==
        "linear: expected an input of 16 columns, found e4m3 [5, 17]");
  CHECK(refusal({*x, *three}, good_weight, nullptr, *y) ==
        "linear: expected one scale in f32, or one for each of the 5 rows of e4m3 [5, 16], found "
        "f32 [3]");
  CHECK(refusal(good_x, {*weight, *bf16}, nullptr, *y) ==
        "linear: expected one scale in f32, or one for each of the 3 rows of e4m3 [3, 16], found "
        "bf16 [3]");
  CHECK(refusal(good_x, {view_of(weight->data, kE4m3, {1, 3, 16}), *one}, nullptr, *y) ==
        "linear: expected a weight [out, in], found e4m3 [1, 3, 16]");
  CHECK(refusal(good_x, good_weight, nullptr, *Array(kF16, {5, 3})) ==
        "linear: expected an output of 5 rows of 3 in f32 or bf16, found f16 [5, 3]");
  CHECK(refusal(good_x, good_weight, nullptr, *Array(kBf16, {4, 3})) ==
        "linear: expected an output of 5 rows of 3 in f32 or bf16, found bf16 [4, 3]");
  CHECK(refusal(good_x, good_weight, &*three, *y) ==
        "linear: expected a bias of the 3 outputs of e4m3 [3, 16] in bf16, found f32 [3]");
  CHECK(refusal(good_x, good_weight, nullptr, *y, force("linear.onednn")) ==
        "kernel 'linear.onednn' was asked for, but refuses: it has no products of codes; leave "
        "the choice open");
  CHECK(linear_codes_refused({3, 16}, {}) == "the CPU has none");
}

TEST_CASE("linear: the reference agrees with sums in fp64") {
  for (const DLDataType dtype : {kF32, kBf16}) {
    const Array x = noise(dtype, {5, 130}, 1), w = noise(dtype, {9, 130}, 2);
    const Array bias = noise(dtype, {9}, 3);
    Array expected(dtype, {5, 9});
    for (int64_t m = 0; m < 5; ++m) {
      for (int64_t n = 0; n < 9; ++n) {
        double sum = bias.at(n);
        for (int64_t k = 0; k < 130; ++k)
          sum += double{x.at(m * 130 + k)} * w.at(n * 130 + k);
        expected.set(m * 9 + n, static_cast<float>(sum));
      }
    }
    check_close("linear", product("linear.reference", x, w, &*bias), expected);
  }
}

TEST_CASE("linear: every kernel agrees with the reference") {
  for (const std::string_view kernel : linear_kernels()) {
    for (const DLDataType dtype : {kF32, kBf16}) {
      if (!runs(kernel, dtype)) continue;
      for (const auto& [m, k, n] : kExtents) {
        CAPTURE(m);
        CAPTURE(k);
        CAPTURE(n);
        const Array x = noise(dtype, {m, k}, 1), bias = noise(dtype, {n}, 3);
        const Array w = noise(dtype, {n, k}, 2, 1.0f / std::sqrt(static_cast<float>(k)));
        for (const View* b : {static_cast<const View*>(nullptr), &*bias}) {
          check_close("linear", product(kernel, x, w, b), product("linear.reference", x, w, b));
        }
      }
    }
  }
}

TEST_CASE("linear: the bias is added before the only rounding") {
  // 256 + 1 is no bf16 number, 256 + 1 - 1 is: a rounding in between would lose the one.
  Array x(kBf16, {1, 2}), w(kBf16, {1, 2}), bias(kBf16, {1});
  x.set(0, 256.0f), x.set(1, 1.0f), w.set(0, 1.0f), w.set(1, 1.0f), bias.set(0, 1.0f);
  for (const std::string_view kernel : linear_kernels()) {
    if (runs(kernel, kBf16)) CHECK(product(kernel, x, w, &*bias).at(0) == 258.0f);
  }
}

TEST_CASE("linear: a row is the same bytes whatever the number of rows") {
  if (!onednn::has_blocked_products()) {
    MESSAGE("skipped: without AVX-512 oneDNN chooses the order of sums by the number of rows");
    return;
  }
  for (const std::string_view kernel : linear_kernels()) {
    for (const DLDataType dtype : {kF32, kBf16}) {
      if (!runs(kernel, dtype)) continue;
      const Array x = noise(dtype, {200, 576}, 1), w = noise(dtype, {300, 576}, 2);
      const Array whole = product(kernel, x, w, nullptr);
      for (const int64_t rows : {1, 2, 3, 5, 8, 15, 16, 17, 31, 64, 100, 127, 128, 129, 199}) {
        CAPTURE(rows);
        CHECK(product(kernel, head(x, rows), w, nullptr) == head(whole, rows));
      }
    }
  }
}

TEST_CASE("linear: threads do not matter") {
  for (const std::string_view kernel : linear_kernels()) {
    for (const DLDataType dtype : {kF32, kBf16}) {
      if (!runs(kernel, dtype)) continue;
      const Array x = noise(dtype, {200, 576}, 1), w = noise(dtype, {300, 576}, 2);
      check_threads([&] { return product(kernel, x, w, nullptr); });
    }
  }
}

TEST_CASE("linear: one prepared weight serves many calls, also inside a loop") {
  const Array w = noise(kBf16, {300, 96}, 2), x = noise(kBf16, {40, 96}, 1);
  // A kernel whose rows do not depend on each other on any CPU.
  const PreparedLinear prepared = PreparedLinear::make(
      *w, nullptr, onednn::has_blocked_products() ? Options{} : force("linear.reference"));
  CHECK(prepared.prepared_bytes() >= w->bytes());
  Array expected(kBf16, {40, 300}), y(kBf16, {40, 300});
  prepared.run(*x, *expected);
  Threads threads(4);
  threads.run([&] {
    for_each(40, 1, [&](int64_t i, int64_t) {
      prepared.run(view_of(x->as<uint16_t>() + i * 96, kBf16, {1, 96}),
                   view_of(y->as<uint16_t>() + i * 300, kBf16, {1, 300}));
    });
  });
  CHECK(y == expected);
}

TEST_CASE("linear: operands that do not fit are refused with both shapes") {
  const Array w = noise(kBf16, {3, 4}, 2), x = noise(kBf16, {2, 5}, 1), y(kBf16, {2, 3});
  CHECK_THROWS_WITH_AS(linear(*x, *w, nullptr, *y),
                       "linear: expected an input of 4 columns in bf16, found bf16 [2, 5]", Error);
}
