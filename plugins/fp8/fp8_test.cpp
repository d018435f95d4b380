#include "fp8.hpp"

#include "mopt/numeric/e4m3.hpp"
#include "tests/codec_golden.hpp"

namespace mopt::test {
namespace {

const mopt_component& component() {
  return component_named(*mopt_plugin_entry_v0(), "fp8");
}

// `zero_too`: the original is right about the all-zero matrix as well.
void check_against_modelopt(const char* file, const char* kind, bool zero_too) {
  FakeHost host;
  const Quantizer quantizer(host, component(), granularity(kind));
  for (const CodecCase& c : codec_cases(file)) {
    if (c.zero() && !zero_too) continue;
    CAPTURE(c.matrix);
    const auto got = quantizer.quantize(weight_case(c.input));
    CHECK(got.at("payload").bytes == c.expected.at("weight").bytes);
    CHECK(got.at("scale").bytes == c.expected.at("weight_scale").bytes);
    check_dequant(quantizer.dequantize(got, c.rows(), c.cols()), c.expected.at("dequant"));
  }
}

}  // namespace

TEST_CASE("fp8 equals ModelOpt's bytes per tensor, per channel and per 128x128 block") {
  check_against_modelopt("modelopt_fp8", "tensor", false);
  check_against_modelopt("modelopt_fp8_pc_pt", "channel", true);
  check_against_modelopt("modelopt_fp8_2d", "block", true);
}

TEST_CASE("an all-zero fp8 weight has scale 1, zero codes and a warning with its name") {
  for (const char* kind : {"tensor", "channel", "block"})
    check_zero_weight(component(), granularity(kind));
}

TEST_CASE("only an fp8 weight within one tile takes its siblings' range") {
  FakeHost host;
  WeightCase small = weight_case(random_blob(kBf16, {128, 128}, 1));
  small.group_absmax = 3 * small.absmax;
  WeightCase large = weight_case(random_blob(kBf16, {129, 128}, 1));
  large.group_absmax = 3 * large.absmax;
  const Quantizer block(host, component(), granularity("block"));
  const Quantizer tensor(host, component());
  const auto scales = [](const auto& parts) { return parts.at("scale").template as<float>(); };
  CHECK(scales(block.quantize(small)) == std::vector<float>{small.group_absmax / 448.0f});
  CHECK(absmax(block.quantize(large).at("scale")) == large.absmax / 448.0f);
  CHECK(scales(tensor.quantize(small)) == std::vector<float>{small.absmax / 448.0f});
}

TEST_CASE("every fp8 tile of a wide weight has its own range, cut tiles too") {
  FakeHost host;
  const int64_t rows = 130, cols = 65 * 128 + 5;
  const Blob weight = random_blob(kBf16, {rows, cols}, 9);
  const auto got = Quantizer(host, component(), granularity("block")).quantize(weight_case(weight));
  const auto scales = got.at("scale").as<float>();
  const auto x = weight.as<uint16_t>();
  const auto codes = got.at("payload").as<uint8_t>();
  std::vector<float> want(2 * 66, 0.0f);
  const auto tile_of = [](int64_t r, int64_t c) {
    return static_cast<size_t>(r / 128 * 66 + c / 128);
  };
  const auto value = [&](int64_t r, int64_t c) {
    return bf16::decode(x[static_cast<size_t>(r * cols + c)]);
  };
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      float& most = want[tile_of(r, c)];
      most = std::max(most, std::fabs(value(r, c)) / 448.0f);
    }
  }
  CHECK(scales == want);
  int wrong = 0;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      const uint8_t code = e4m3::encode(value(r, c) / want[tile_of(r, c)]);
      wrong += codes[static_cast<size_t>(r * cols + c)] != code;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("fp8 scales stay finite and above zero for the smallest weights") {
  FakeHost host;
  for (const DLDataType dtype : kSourceTypes) {
    Blob weight = blob(dtype, {2, 32}, std::string(static_cast<size_t>(8 * dtype.bits), '\0'));
    weight.bytes[0] = 1;  // the smallest subnormal
    for (const char* kind : {"tensor", "channel", "block"}) {
      const Quantizer quantizer(host, component(), granularity(kind));
      const auto got = quantizer.quantize(weight_case(weight));
      for (const float scale : got.at("scale").as<float>()) {
        CHECK(scale > 0);
        CHECK(std::isfinite(scale));
      }
      for (const float x : quantizer.dequantize(got, 2, 32).as<float>())
        CHECK(std::isfinite(x));
    }
  }
}

TEST_CASE("fp8 vector kernels equal the reference for every type, length and instruction set") {
  for_all_targets([](const std::string& target) {
    CAPTURE(target);
    for (const DLDataType dtype : kSourceTypes) {
      for (const int64_t n : {1, 15, 16, 17, 1000}) {
        const Blob x = random_blob(dtype, {1, n}, static_cast<uint32_t>(n));
        const TensorRef ref = x.ref();
        const float most = fp8::absmax(reals(*ref), n);
        CHECK(most == absmax(x));
        // A third of the range: part of the elements saturate.
        const float scale = most / 3 / 448.0f;
        for (const fp8::Quotient quotient : {fp8::Quotient::kF32, fp8::Quotient::kSourceType}) {
          std::vector<uint8_t> codes(static_cast<size_t>(n)), want = codes;
          fp8::encode(reals(*ref), n, {scale, quotient}, codes.data());
          fp8::reference::encode(reals(*ref), n, {scale, quotient}, want.data());
          CHECK(codes == want);
        }
        Blob got = blob(dtype, x.shape);
        TensorRef to = got.ref();
        fp8::round_trip(reals(*ref), n, scale, reals_out(*to.get()));
        CHECK(got.bytes == round_tripped(fp8::reference::round_trip, x, scale).bytes);
      }
    }
  });
}

TEST_CASE("fp8 decodes every code as the product that the format states") {
  std::vector<uint8_t> codes(256);
  for (size_t i = 0; i < codes.size(); ++i)
    codes[i] = static_cast<uint8_t>(i);
  for_all_targets([&](const std::string& target) {
    CAPTURE(target);
    std::vector<float> out(256);
    fp8::decode(codes.data(), 256, 0.3f, {out.data(), Real::kF32});
    for (size_t i = 0; i < codes.size(); ++i) {
      const float want = e4m3::decode(codes[i]) * 0.3f;
      CAPTURE(i);
      CHECK((std::isnan(want) ? std::isnan(out[i]) : out[i] == want));
    }
  });
}

TEST_CASE("an fp8 input is rounded with the stored scale, or token by token") {
  check_inputs(component(), fp8::reference::round_trip, 448.0f);
}

TEST_CASE("an fp8 KV cache without a stored scale is rounded with 1") {
  FakeHost host;
  const Blob x = random_blob(kBf16, {3, 200}, 5);
  CHECK(Quantizer(host, component()).quantize_input(MOPT_OPERAND_KV, x, nullptr).bytes ==
        round_tripped(fp8::reference::round_trip, x, 1.0f).bytes);
}

TEST_CASE("a NaN in an fp8 input stays NaN, and values beyond the range saturate") {
  FakeHost host;
  const Quantizer quantizer(host, component());
  std::vector<float> x(40, 1000.0f);
  x[3] = x[39] = std::numeric_limits<float>::quiet_NaN();
  x[4] = -std::numeric_limits<float>::infinity();
  const std::string bytes(reinterpret_cast<const char*>(x.data()), x.size() * 4);
  const float scale = 0.5f;
  const auto got =
      quantizer.quantize_input(MOPT_OPERAND_INPUT, blob(kF32, {1, 40}, bytes), &scale).as<float>();
  CHECK(std::isnan(got[3]));
  CHECK(std::isnan(got[39]));
  CHECK(got[4] == -224.0f);
  CHECK(got[5] == 224.0f);
}

TEST_CASE("fp8 states what each granularity holds and opens exactly that") {
  FakeHost host;
  const struct {
    const char* kind;
    mopt_operand operand;
  } rows[] = {{"tensor", MOPT_OPERAND_WEIGHT}, {"tensor", MOPT_OPERAND_INPUT},
              {"tensor", MOPT_OPERAND_KV},     {"channel", MOPT_OPERAND_WEIGHT},
              {"token", MOPT_OPERAND_INPUT},   {"block", MOPT_OPERAND_WEIGHT}};
  for (const auto& row : rows) {
    const Quantizer made(host, component(), granularity(row.kind));
    const Scheme scheme = made.scheme(row.operand);
    CHECK(Quantizer(host, component(), scheme).scheme(row.operand) == scheme);
    Scheme other = scheme;
    other.element = kE5m2;
    CHECK_THROWS_AS(Quantizer(host, component(), other), Error);
  }
  const Quantizer token(host, component(), granularity("token"));
  CHECK_THROWS_WITH(token.scheme(MOPT_OPERAND_WEIGHT), doctest::Contains("does not serve weights"));
  const Quantizer channel(host, component(), granularity("channel"));
  CHECK_THROWS_WITH(channel.scheme(MOPT_OPERAND_INPUT), doctest::Contains("does not serve inputs"));
  CHECK_THROWS_WITH(channel.scheme(MOPT_OPERAND_KV), doctest::Contains("a KV cache"));
}

TEST_CASE("fp8 reads scales only in the number that its layout has") {
  FakeHost host;
  const Quantizer quantizer(host, component(), granularity("channel"));
  auto parts = quantizer.quantize(weight_case(random_blob(kBf16, {4, 32}, 2)));
  parts.at("scale") = blob(kF32, {3}, std::string(12, '\0'));
  CHECK_THROWS_WITH(quantizer.dequantize(parts, 4, 32), doctest::Contains("expected 4 scales"));
}

}  // namespace mopt::test
