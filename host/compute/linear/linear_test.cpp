#include "host/compute/linear/linear.hpp"

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

}  // namespace

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
