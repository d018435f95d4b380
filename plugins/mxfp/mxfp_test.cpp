#include "mxfp.hpp"

#include "mopt/numeric/e2m1.hpp"
#include "mopt/numeric/e4m3.hpp"
#include "mopt/numeric/e8m0.hpp"
#include "tests/codec_golden.hpp"

namespace mopt::test {
namespace {

const mopt_component& component(const char* name) {
  return component_named(*mopt_plugin_entry_v0(), name);
}

}  // namespace

TEST_CASE("mxfp4 and mxfp8 equal ModelOpt's bytes, zero matrix included") {
  FakeHost host;
  for (const std::string name : {"mxfp4", "mxfp8"}) {
    const Quantizer quantizer(host, component(name.c_str()));
    for (const CodecCase& c : codec_cases("modelopt_" + name)) {
      CAPTURE(name);
      CAPTURE(c.matrix);
      const auto got = quantizer.quantize(weight_case(c.input));
      CHECK(got.at("payload").bytes == c.expected.at("weight").bytes);
      CHECK(got.at("scale").bytes == c.expected.at("weight_scale").bytes);
      check_dequant(quantizer.dequantize(got, c.rows(), c.cols()), c.expected.at("dequant"));
    }
  }
}

TEST_CASE("an all-zero mxfp weight is said to be one") {
  FakeHost host;
  const Quantizer quantizer(host, component("mxfp8"));
  const auto got =
      quantizer.quantize({blob(kBf16, {4, 32}, std::string(256, '\0')), 0, 0, "w.zero"});
  CHECK(got.at("payload").bytes == std::string(128, '\0'));
  CHECK(got.at("scale").bytes == std::string(4, '\0'));
  REQUIRE(host.warnings.size() == 1);
  CHECK(host.warnings[0].find("w.zero") != std::string::npos);
}

TEST_CASE("no mxfp element saturates, and a smaller scale would make one") {
  const Blob x = random_blob(kF32, {64, 32}, 11);
  const TensorRef ref = x.ref();
  const auto values = x.as<float>();
  for (const mxfp::Element element : {mxfp::Element::kE2m1, mxfp::Element::kE4m3}) {
    const float bound = element == mxfp::Element::kE2m1 ? e2m1::kMax : e4m3::kMax;
    std::vector<uint8_t> scales(64), codes(64 * 32);
    mxfp::encode(reals(*ref), {64, element}, scales.data(), codes.data());
    for (size_t b = 0; b < 64; ++b) {
      float most = 0;
      for (size_t i = 0; i < 32; ++i)
        most = std::max(most, std::fabs(values[b * 32 + i]));
      if (most == 0) continue;
      CHECK(most <= bound * e8m0::decode(scales[b]));
      CHECK(most > bound * e8m0::decode(static_cast<uint8_t>(scales[b] - 1)));
    }
  }
}

TEST_CASE("mxfp vector kernels equal the reference for every type and instruction set") {
  for_all_targets([](const std::string& target) {
    CAPTURE(target);
    for (const mxfp::Element element : {mxfp::Element::kE2m1, mxfp::Element::kE4m3}) {
      for (const DLDataType dtype : kSourceTypes) {
        const int64_t count = 131;
        const mxfp::Blocks blocks{count, element};
        const Blob x = random_blob(dtype, {count, 32}, 7);
        const TensorRef ref = x.ref();
        std::vector<uint8_t> scales(static_cast<size_t>(count)), want_scales = scales;
        std::vector<uint8_t> codes(static_cast<size_t>(count * mxfp::code_bytes(element)));
        std::vector<uint8_t> want_codes = codes;
        mxfp::encode(reals(*ref), blocks, scales.data(), codes.data());
        mxfp::reference::encode(reals(*ref), blocks, want_scales.data(), want_codes.data());
        CHECK(scales == want_scales);
        CHECK(codes == want_codes);

        Blob got = blob(dtype, x.shape), want = got;
        TensorRef got_ref = got.ref(), want_ref = want.ref();
        mxfp::decode(scales.data(), codes.data(), blocks, reals_out(*got_ref.get()));
        mxfp::reference::decode(scales.data(), codes.data(), blocks, reals_out(*want_ref.get()));
        CHECK(got.bytes == want.bytes);
        mxfp::round_trip(reals(*ref), blocks, reals_out(*got_ref.get()));
        mxfp::reference::round_trip(reals(*ref), blocks, reals_out(*want_ref.get()));
        CHECK(got.bytes == want.bytes);
      }
    }
  });
}

TEST_CASE("mxfp decodes every code with every scale as the product that the format states") {
  for_all_targets([](const std::string& target) {
    CAPTURE(target);
    std::vector<uint8_t> codes(256);
    for (size_t i = 0; i < codes.size(); ++i)
      codes[i] = static_cast<uint8_t>(i);
    for (int code = 0; code < 255; ++code) {
      const auto scale = static_cast<uint8_t>(code);
      const std::vector<uint8_t> scales(16, scale);
      std::vector<float> out(512);
      bool equal = true;
      mxfp::decode(scales.data(), codes.data(), {8, mxfp::Element::kE4m3},
                   {out.data(), Real::kF32});
      for (size_t i = 0; i < 256; ++i) {
        const float want = e4m3::decode(codes[i]) * e8m0::decode(scale);
        equal = equal && (std::isnan(want) ? std::isnan(out[i]) : out[i] == want);
      }
      mxfp::decode(scales.data(), codes.data(), {16, mxfp::Element::kE2m1},
                   {out.data(), Real::kF32});
      for (size_t i = 0; i < 512; ++i) {
        const auto nibble = static_cast<uint8_t>(codes[i / 2] >> (i % 2 * 4) & 15);
        equal = equal && out[i] == e2m1::decode(nibble) * e8m0::decode(scale);
      }
      CHECK(equal);
    }
  });
}

TEST_CASE("an mxfp input comes back as its weights would, rounded once to its type") {
  FakeHost host;
  const Blob x = random_blob(kBf16, {5, 96}, 3);
  for (const char* name : {"mxfp4", "mxfp8"}) {
    const Quantizer quantizer(host, component(name));
    const Blob want = quantizer.dequantize(quantizer.quantize(weight_case(x)), 5, 96, kBf16);
    CHECK(quantizer.quantize_input(MOPT_OPERAND_INPUT, x, nullptr).bytes == want.bytes);
  }
}

TEST_CASE("mxfp4 and mxfp8 open their own schemes, refuse each other's and odd columns") {
  FakeHost host;
  const Quantizer four(host, component("mxfp4")), eight(host, component("mxfp8"));
  for (const mopt_operand operand : {MOPT_OPERAND_WEIGHT, MOPT_OPERAND_INPUT}) {
    const Scheme scheme = four.scheme(operand);
    CHECK(Quantizer(host, component("mxfp4"), scheme).scheme(operand) == scheme);
    CHECK_THROWS_AS(Quantizer(host, component("mxfp8"), scheme), Error);
    CHECK_THROWS_AS(Quantizer(host, component("mxfp4"), eight.scheme(operand)), Error);
  }
  CHECK_THROWS_WITH(four.scheme(MOPT_OPERAND_KV), doctest::Contains("does not serve a KV cache"));
  CHECK_THROWS_AS(four.input_scale(MOPT_OPERAND_INPUT, 1.0f), Error);
  CHECK_THROWS_WITH(eight.plan(blob(kBf16, {4, 80})),
                    "mxfp8 needs a multiple of 32 columns, found 80; leave it out with a rule");
}

}  // namespace mopt::test
