#include "host/compute/activation/activation.hpp"

#include "host/compute/test_data.hpp"

using namespace mopt;
using namespace mopt::compute;
using namespace mopt::compute::test;

namespace {

constexpr Activation kAll[] = {Activation::kSilu, Activation::kGelu, Activation::kGeluTanh,
                               Activation::kRelu};

Array apply(std::string_view kernel, Activation kind, const Array& x) {
  Array y(x->dtype, {x->elements()});
  activation({kind, *x, *y}, force(kernel));
  return y;
}

double exact(Activation kind, double x) {
  switch (kind) {
    case Activation::kSilu:
      return x / (1.0 + std::exp(-x));
    case Activation::kGelu:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Activation::kGeluTanh:
      return x / (1.0 + std::exp(-2.0 * std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::kRelu:
      return std::max(x, 0.0);
  }
  return 0.0;
}

// -40 to 40 in steps of 1/64, an odd number of them.
Array sweep(DLDataType dtype) {
  Array x(dtype, {5121});
  for (int64_t i = 0; i < 5121; ++i)
    x.set(i, static_cast<float>(i - 2560) / 64.0f);
  return x;
}

}  // namespace

TEST_CASE("activation: every kernel agrees with the formula in fp64") {
  for (const std::string_view kernel : activation_kernels()) {
    for (const Activation kind : kAll) {
      for (const DLDataType dtype : {kF32, kBf16}) {
        const Array x = sweep(dtype);
        Array expected(dtype, {x->elements()});
        for (int64_t i = 0; i < x->elements(); ++i) {
          expected.set(i, static_cast<float>(exact(kind, x.at(i))));
        }
        CAPTURE(static_cast<int>(kind));
        check_close("activation", apply(kernel, kind, x), expected);
      }
    }
  }
}

TEST_CASE("activation: every kernel agrees with the reference at odd lengths, in place too") {
  for (const Activation kind : kAll) {
    for (const DLDataType dtype : {kF32, kBf16}) {
      for (const int64_t n : {1, 7, 16, 33, 100001}) {
        const Array x = noise(dtype, {n}, 1, 6.0f);
        const Array expected = apply("activation.reference", kind, x);
        Array y = noise(dtype, {n}, 1, 6.0f);
        activation({kind, *y, *y});
        check_close("activation", y, expected);
      }
    }
  }
}

TEST_CASE("activation: torch 2.15 gives the same bf16 values") {
  // torch.nn.functional of these inputs as bf16.
  constexpr float kX[] = {-3.0f, -1.0f, -0.25f, 0.0f, 0.4f, 1.0f, 2.5f, 6.0f};
  constexpr float kSilu[] = {-0.142578125f, -0.26953125f, -0.109375f, 0.0f,
                             0.240234375f,  0.73046875f,  2.3125f,    6.0f};
  constexpr float kGelu[] = {-0.00405883789f, -0.158203125f, -0.100097656f, 0.0f,
                             0.26171875f,     0.83984375f,   2.484375f,     6.0f};
  Array x(kBf16, {8});
  for (int64_t i = 0; i < 8; ++i)
    x.set(i, kX[i]);
  for (const std::string_view kernel : activation_kernels()) {
    const Array silu = apply(kernel, Activation::kSilu, x);
    const Array gelu = apply(kernel, Activation::kGelu, x);
    for (int64_t i = 0; i < 8; ++i) {
      CHECK(silu.at(i) == kSilu[i]);
      CHECK(gelu.at(i) == kGelu[i]);
    }
  }
}

TEST_CASE("activation: far out and beyond numbers") {
  const float inf = std::numeric_limits<float>::infinity();
  Array x(kF32, {5});
  const float values[] = {-1e30f, 1e30f, -inf, inf, std::nanf("")};
  for (int64_t i = 0; i < 5; ++i)
    x.set(i, values[i]);
  for (const std::string_view kernel : activation_kernels()) {
    for (const Activation kind : kAll) {
      const Array y = apply(kernel, kind, x);
      CAPTURE(static_cast<int>(kind));
      CHECK(y.at(0) == 0.0f);
      CHECK(y.at(1) == 1e30f);
      CHECK(y.at(3) == inf);
      CHECK(std::isnan(y.at(4)));
    }
  }
}

TEST_CASE("activation: an unknown name is refused with the known ones") {
  CHECK(activation_kind("gelu_tanh") == Activation::kGeluTanh);
  CHECK_THROWS_WITH_AS(activation_kind("swish"),
                       "expected the activation silu, gelu, gelu_tanh or relu, found 'swish'",
                       Error);
}
