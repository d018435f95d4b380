#include "host/compute/rms_norm/rms_norm.hpp"

#include "host/compute/test_data.hpp"

using namespace mopt;
using namespace mopt::compute;
using namespace mopt::compute::test;

namespace {

Array norm(std::string_view kernel, const Array& x, const Array& weight, float eps = 1e-5f) {
  Array y(x->dtype, {x->rows(), x->columns()});
  rms_norm({*x, *weight, eps, *y}, force(kernel));
  return y;
}

}  // namespace

TEST_CASE("rms_norm: Hugging Face's LlamaRMSNorm gives these numbers") {
  // transformers 5.23, torch 2.15, eps 1e-5.
  constexpr float kX[] = {0.3f, -1.25f, 2.0f, 0.7f, -0.9f, 1.1f, 0.05f, -3.0f};
  constexpr float kWeight[] = {1.1f, 0.9f, -0.33f, 2.7f, 0.01f, 1.0f, -1.7f, 0.6f};
  constexpr float kF32Result[] = {0.225286931f,    -0.76802361f, -0.450573862f,  1.29027963f,
                                  -0.00614418834f, 0.750956416f, -0.0580284558f, -1.22883773f};
  constexpr float kBf16Result[] = {0.225585938f,   -0.765625f,  -0.451171875f,  1.2890625f,
                                   -0.0061340332f, 0.75390625f, -0.0581054688f, -1.234375f};
  for (const std::string_view kernel : rms_norm_kernels()) {
    for (const DLDataType dtype : {kF32, kBf16}) {
      Array x(dtype, {1, 8}), weight(dtype, {8}), expected(dtype, {1, 8});
      for (int64_t i = 0; i < 8; ++i) {
        x.set(i, kX[i]);
        weight.set(i, kWeight[i]);
        expected.set(i, same(dtype, kF32) ? kF32Result[i] : kBf16Result[i]);
      }
      const Array got = norm(kernel, x, weight);
      check_close("rms_norm", got, expected);
      if (same(dtype, kBf16)) CHECK(got == expected);
    }
  }
}

TEST_CASE("rms_norm: every kernel agrees with the reference") {
  for (const DLDataType dtype : {kF32, kBf16}) {
    for (const int64_t c : {1, 7, 24, 64, 100, 576, 4099}) {
      const Array x = noise(dtype, {5, c}, 1, 3.0f), weight = noise(dtype, {c}, 2);
      CAPTURE(c);
      check_close("rms_norm", norm("rms_norm.highway", x, weight),
                  norm("rms_norm.reference", x, weight));
    }
  }
}

TEST_CASE("rms_norm: rows of zeros stay zero, and threads do not matter") {
  const Array zeros(kBf16, {3, 40}), weight = noise(kBf16, {40}, 2);
  for (const std::string_view kernel : rms_norm_kernels()) {
    const Array y = norm(kernel, zeros, weight);
    for (int64_t i = 0; i < 120; ++i)
      CHECK(y.at(i) == 0.0f);
  }
  const Array x = noise(kBf16, {400, 200}, 1), wide = noise(kBf16, {200}, 2);
  check_threads([&] { return norm("rms_norm.highway", x, wide); });
}
