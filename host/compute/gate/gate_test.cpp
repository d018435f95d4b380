#include "host/compute/gate/gate.hpp"

#include "host/compute/elementwise/elementwise.hpp"
#include "host/compute/test_data.hpp"

using namespace mopt;
using namespace mopt::compute;
using namespace mopt::compute::test;

namespace {

constexpr Activation kAll[] = {Activation::kSilu, Activation::kGelu, Activation::kGeluTanh,
                               Activation::kRelu};

// activation and mul, by kernels of the same kind as "gate.KIND".
Array halves(std::string_view kernel, Activation kind, const Array& x, const Array& up) {
  const std::string suffix(kernel.substr(kernel.find('.')));
  Array y(x->dtype, {x->elements()});
  activation({kind, *x, *y}, force("activation" + suffix));
  mul(*y, *up, *y, force("elementwise" + suffix));
  return y;
}

// With the operand that the result replaces.
enum class Over { kNone, kX, kUp };
Array gated(std::string_view kernel, Activation kind, Array x, Array up, Over over) {
  Array y(x->dtype, {x->elements()});
  const Array& to = over == Over::kNone ? y : over == Over::kX ? x : up;
  gate({kind, *x, *up, *to}, force(kernel));
  return over == Over::kNone ? std::move(y) : over == Over::kX ? std::move(x) : std::move(up);
}

}  // namespace

TEST_CASE("gate: every kernel makes the bits of activation and mul, over either operand too") {
  for (const std::string_view kernel : gate_kernels()) {
    for (const Activation kind : kAll) {
      for (const DLDataType dtype : {kF32, kBf16}) {
        for (const int64_t n : {1, 7, 16, 33, 100001}) {
          const auto x = [&] { return noise(dtype, {n}, 1, 6.0f); };
          const auto up = [&] { return noise(dtype, {n}, 2, 3.0f); };
          const Array want = halves(kernel, kind, x(), up());
          CAPTURE(static_cast<int>(kind));
          CAPTURE(n);
          for (const Over over : {Over::kNone, Over::kX, Over::kUp})
            CHECK(gated(kernel, kind, x(), up(), over) == want);
        }
      }
    }
  }
}

TEST_CASE("gate: silu is rounded to bf16 before the product") {
  // torch 2.15: silu(1) = 0.73046875 in bf16. Times 1.0078125 that rounds to 0.734375; unrounded it
  // would be 0.73677, which rounds to 0.73828125.
  for (const std::string_view kernel : gate_kernels()) {
    Array x(kBf16, {1}), up(kBf16, {1});
    x.set(0, 1.0f);
    up.set(0, 1.0078125f);
    const Array y = gated(kernel, Activation::kSilu, std::move(x), std::move(up), Over::kNone);
    CHECK(y.at(0) == 0.734375f);
  }
}

TEST_CASE("gate: what is no number stays none") {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::nanf("");
  const float xs[] = {nan, 1.0f, inf, 0.0f, 1e30f}, ups[] = {1.0f, nan, 0.0f, inf, 1e30f};
  for (const std::string_view kernel : gate_kernels()) {
    for (const DLDataType dtype : {kF32, kBf16}) {
      Array x(dtype, {5}), up(dtype, {5});
      for (int64_t i = 0; i < 5; ++i) {
        x.set(i, xs[i]);
        up.set(i, ups[i]);
      }
      const Array y = gated(kernel, Activation::kSilu, std::move(x), std::move(up), Over::kNone);
      for (int64_t i = 0; i < 4; ++i)
        CHECK(std::isnan(y.at(i)));
      CHECK(y.at(4) == inf);
    }
  }
}

TEST_CASE("gate: other shapes, other types and parts of a range on the CPU are refused") {
  const Array a(kBf16, {4}), b(kBf16, {5}), c(kF32, {4});
  uint32_t parts = 0;
  CHECK_THROWS_WITH_AS(gate({Activation::kSilu, *a, *b, *a}),
                       "gate: expected an operand like bf16 [4], found bf16 [5]", Error);
  CHECK_THROWS_AS(gate({Activation::kSilu, *a, *c, *a}), Error);
  CHECK_THROWS_WITH_AS(gate({Activation::kSilu, *a, *a, *a, &parts}),
                       "gate: expected no parts of a range on the CPU, found bf16 [4]", Error);
}
