#include "host/compute/elementwise/elementwise.hpp"

#include "host/compute/test_data.hpp"

using namespace mopt;
using namespace mopt::compute;
using namespace mopt::compute::test;

TEST_CASE("elementwise: add and mul are one operation in fp64, rounded once") {
  for (const std::string_view kernel : elementwise_kernels()) {
    for (const DLDataType dtype : {kF32, kBf16}) {
      for (const int64_t n : {1, 15, 16, 257, 70001}) {
        const Array a = noise(dtype, {n}, 1), b = noise(dtype, {n}, 2);
        Array sum(dtype, {n}), product(dtype, {n}), wanted_sum(dtype, {n}), wanted(dtype, {n});
        add(*a, *b, *sum, force(kernel));
        mul(*a, *b, *product, force(kernel));
        for (int64_t i = 0; i < n; ++i) {
          // Exact in fp64, so rounding to fp32 first is the rounding of the operation.
          wanted_sum.set(i, static_cast<float>(double{a.at(i)} + b.at(i)));
          wanted.set(i, static_cast<float>(double{a.at(i)} * b.at(i)));
        }
        check_close("elementwise", sum, wanted_sum);
        check_close("elementwise", product, wanted);
      }
    }
  }
}

TEST_CASE("elementwise: the result may replace an operand, on any number of threads") {
  check_threads([] {
    Array a = noise(kBf16, {200000}, 1);
    const Array b = noise(kBf16, {200000}, 2);
    add(*a, *b, *a);
    mul(*b, *a, *a);
    return a;
  });
}

TEST_CASE("elementwise: operands of another shape or type are refused") {
  const Array a(kBf16, {4}), b(kBf16, {5}), c(kF32, {4});
  CHECK_THROWS_WITH_AS(add(*a, *b, *a), "add: expected an operand like bf16 [4], found bf16 [5]",
                       Error);
  CHECK_THROWS_AS(mul(*a, *c, *a), Error);
}
