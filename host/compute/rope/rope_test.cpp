#include "host/compute/rope/rope.hpp"

#include "host/compute/test_data.hpp"

using namespace mopt;
using namespace mopt::compute;
using namespace mopt::compute::test;

namespace {

RopeAttrs attrs(RopeScaling scaling, int64_t rotary_dim = 16, double factor = 1.0) {
  RopeAttrs a;
  a.rotary_dim = rotary_dim;
  a.scaling = scaling;
  a.factor = factor;
  return a;
}

RopeAttrs yarn_attrs(int64_t rotary_dim) {
  RopeAttrs a = attrs(RopeScaling::kYarn, rotary_dim, 4.0);
  a.original_max_position = 2048;
  return a;
}

void check_frequencies(const std::vector<float>& got, std::vector<float> expected) {
  REQUIRE(got.size() == expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    CAPTURE(i);
    // pow of two libraries: 2 ulp.
    CHECK(std::fabs(got[i] - expected[i]) <= 2.4e-7f * expected[i]);
  }
}

std::vector<int64_t> positions_from(int64_t first, int64_t n) {
  std::vector<int64_t> out;
  for (int64_t i = 0; i < n; ++i)
    out.push_back(first + i);
  return out;
}

RopeAngles angles_of(const RopeAttrs& a, const std::vector<int64_t>& at, DLDataType dtype) {
  return rope_angles(make_rope_table(a),
                     view_of(at.data(), kI64, {1, static_cast<int64_t>(at.size())}), dtype);
}

Array rotate(std::string_view kernel, const Array& x, const RopeAngles& angles) {
  Array y(x->dtype, {x->shape[0], x->shape[1], x->shape[2], x->shape[3]});
  rope({*x, &angles, *y}, force(kernel));
  CHECK(y.guard_intact());
  return y;
}

}  // namespace

// Expected numbers: transformers 5.23 (LlamaRotaryEmbedding), torch 2.15, head size 16.
TEST_CASE("rope: frequencies are those of modeling_rope_utils") {
  const std::vector<float> plain = {1.0f,           0.316227764f,   0.100000001f,
                                    0.0316227786f,  0.00999999978f, 0.00316227786f,
                                    0.00100000005f, 0.000316227786f};
  check_frequencies(make_rope_table(attrs(RopeScaling::kNone)).inv_freq, plain);
  check_frequencies(make_rope_table(attrs(RopeScaling::kLinear, 16, 4.0)).inv_freq,
                    {0.25f, 0.079056941f, 0.0250000004f, 0.00790569466f, 0.00249999994f,
                     0.000790569466f, 0.000250000012f, 7.90569466e-05f});
  RopeAttrs llama3 = attrs(RopeScaling::kLlama3, 16, 8.0);
  llama3.theta = 500000.0;
  llama3.original_max_position = 256;
  check_frequencies(make_rope_table(llama3).inv_freq,
                    {1.0f, 0.193922758f, 0.0105382307f, 0.000911583134f, 0.000176776681f,
                     3.42810235e-05f, 6.64786967e-06f, 1.28917316e-06f});
  const RopeTable yarn = make_rope_table(yarn_attrs(16));
  check_frequencies(yarn.inv_freq, {1.0f, 0.316227764f, 0.100000001f, 0.025693506f, 0.00624999963f,
                                    0.00138349656f, 0.000250000012f, 7.90569466e-05f});
  CHECK(yarn.attention_factor == doctest::Approx(1.138629436111989));
  RopeAttrs dynamic = attrs(RopeScaling::kDynamic, 16, 2.0);
  dynamic.max_position = 64;
  check_frequencies(make_rope_table(dynamic).inv_freq, plain);
  check_frequencies(rope_frequencies(dynamic, 100),
                    {1.0f, 0.283945143f, 0.0806248412f, 0.0228930302f, 0.00650036521f, 0.001845747f,
                     0.000524090894f, 0.000148813066f});
}

TEST_CASE("rope: a rotated head is that of apply_rotary_pos_emb") {
  // yarn, head size 8, position 1000.
  constexpr float kX[] = {0.3f, -1.25f, 2.0f, 0.7f, -0.9f, 1.1f, 0.05f, -3.0f};
  constexpr float kF32Result[] = {1.0394609f,    -0.593107998f, 2.27789402f,    1.61736691f,
                                  -0.293854326f, 1.80075145f,   -0.0186586268f, -3.11250567f};
  constexpr float kBf16Result[] = {1.0390625f,    -0.58984375f, 2.28125f,       1.609375f,
                                   -0.291015625f, 1.796875f,    -0.0185546875f, -3.109375f};
  for (const std::string_view kernel : rope_kernels()) {
    for (const DLDataType dtype : {kF32, kBf16}) {
      Array x(dtype, {1, 1, 1, 8});
      for (int64_t i = 0; i < 8; ++i)
        x.set(i, kX[i]);
      const Array y = rotate(kernel, x, angles_of(yarn_attrs(8), {1000}, dtype));
      for (int64_t i = 0; i < 8; ++i) {
        CAPTURE(i);
        if (same(dtype, kBf16)) {
          CHECK(y.at(i) == kBf16Result[i]);
        } else {
          // An angle of 1000 is known to 6e-5 in fp32 when its frequency is 1 ulp off.
          CHECK(y.at(i) == doctest::Approx(kF32Result[i]).epsilon(1e-4));
        }
      }
    }
  }
}

TEST_CASE("rope: every kernel agrees with the reference, also on part of a head and in place") {
  for (const DLDataType dtype : {kF32, kBf16}) {
    for (const auto& [d, rotary] : {std::pair{24, 24}, {64, 64}, {80, 32}, {6, 2}, {16, 0}}) {
      for (const int64_t t : {1, 7}) {
        const Array x = noise(dtype, {2, t, 3, d}, 1);
        const RopeAngles angles =
            angles_of(attrs(RopeScaling::kNone, rotary), positions_from(3, 2 * t), dtype);
        const Array expected = rotate("rope.reference", x, angles);
        check_close("rope", rotate("rope.highway", x, angles), expected);
        const Array y = noise(dtype, {2, t, 3, d}, 1);
        rope({*y, &angles, *y});
        check_close("rope", y, expected);
        for (int64_t i = 0; i < x->elements(); ++i) {
          if (i % d >= rotary) CHECK(y.at(i) == x.at(i));
        }
      }
    }
  }
}

TEST_CASE("rope: lengths are kept, position 0 changes nothing") {
  const Array x = noise(kF32, {1, 9, 2, 32}, 1);
  const RopeAngles angles = angles_of(attrs(RopeScaling::kNone, 32), positions_from(0, 9), kF32);
  const Array y = rotate("rope.highway", x, angles);
  for (int64_t head = 0; head < 18; ++head) {
    double before = 0.0, after = 0.0;
    for (int64_t i = 0; i < 32; ++i) {
      before += std::pow(x.at(head * 32 + i), 2.0);
      after += std::pow(y.at(head * 32 + i), 2.0);
      if (head < 2) CHECK(y.at(head * 32 + i) == x.at(head * 32 + i));
    }
    CHECK(after == doctest::Approx(before).epsilon(1e-6));
  }
}

TEST_CASE("rope: a product of two rotated heads depends on their distance only") {
  const Array x = noise(kF32, {1, 2, 1, 64}, 1);
  std::vector<double> products;
  for (const int64_t shift : {0, 5, 1000}) {
    const Array y =
        rotate("rope.highway", x,
               angles_of(attrs(RopeScaling::kNone, 64), positions_from(shift, 2), kF32));
    double sum = 0.0;
    for (int64_t i = 0; i < 64; ++i)
      sum += double{y.at(i)} * y.at(64 + i);
    products.push_back(sum);
  }
  CHECK(products[1] == doctest::Approx(products[0]).epsilon(1e-5));
  CHECK(products[2] == doctest::Approx(products[0]).epsilon(1e-3));
}

TEST_CASE("rope: dynamic scaling follows the longest position, and threads do not matter") {
  RopeAttrs a = attrs(RopeScaling::kDynamic, 16, 2.0);
  a.max_position = 64;
  const RopeAngles shorter = angles_of(a, {1, 63}, kF32), longer = angles_of(a, {1, 99}, kF32);
  const RopeAngles plain = angles_of(attrs(RopeScaling::kNone), {1, 63}, kF32);
  CHECK(shorter.cos == plain.cos);
  CHECK(longer.cos[1] == std::cos(rope_frequencies(a, 100)[1]));
  const Array x = noise(kBf16, {1, 500, 4, 16}, 1);
  check_threads([&] {
    const auto at = positions_from(0, 500);
    return rotate("rope.highway", x, angles_of(attrs(RopeScaling::kNone), at, kBf16));
  });
}

TEST_CASE("rope: attributes that make no sense are refused") {
  CHECK_THROWS_WITH_AS(
      make_rope_table(attrs(RopeScaling::kNone, 3)),
      "rope: expected an even rotary_dim, found 3.000000; see the model's config.json", Error);
  CHECK_THROWS_AS(make_rope_table(attrs(RopeScaling::kLlama3)), Error);
  CHECK_THROWS_AS(make_rope_table(attrs(RopeScaling::kDynamic)), Error);
  CHECK_THROWS_WITH_AS(
      rope_scaling("longrope"),
      "expected the rope scaling none, linear, llama3, yarn or dynamic, found 'longrope'", Error);
}
