#include "nvfp4.hpp"

#include <bit>

#include "mopt/numeric/e2m1.hpp"
#include "mopt/numeric/e4m3.hpp"
#include "tests/codec_golden.hpp"

namespace mopt::test {
namespace {

const mopt_component& component() {
  return component_named(*mopt_plugin_entry_v0(), "nvfp4");
}

// Payload and scales of the peer, when its global scale is taken as given.
void check_encoded_with(const CodecCase& c) {
  CAPTURE(c.matrix);
  const float global = c.expected.at("weight_scale_2").as<float>()[0];
  const int64_t block = 16, count = c.rows() * c.cols() / block;
  std::string scales(static_cast<size_t>(count), '\0');
  std::string codes(static_cast<size_t>(count * block / 2), '\0');
  const TensorRef input = c.input.ref();
  nvfp4::encode(reals(*input), {count, block, global}, reinterpret_cast<uint8_t*>(scales.data()),
                reinterpret_cast<uint8_t*>(codes.data()));
  CHECK(scales == c.expected.at("weight_scale").bytes);
  CHECK(codes == c.expected.at("weight").bytes);
}

void check_against_modelopt(const std::string& file, const std::string& suffix,
                            const std::vector<Option>& options) {
  FakeHost host;
  const Quantizer quantizer(host, component(), options);
  for (const CodecCase& c : codec_cases(file, suffix)) {
    if (c.zero()) continue;  // the original writes NaN scales
    CAPTURE(c.matrix);
    const auto got = quantizer.quantize(weight_case(c.input));
    CHECK(got.at("payload").bytes == c.expected.at("weight").bytes);
    CHECK(got.at("scale").bytes == c.expected.at("weight_scale").bytes);
    CHECK(got.at("global_scale").bytes == c.expected.at("weight_scale_2").bytes);
    check_dequant(quantizer.dequantize(got, c.rows(), c.cols()), c.expected.at("dequant"));
  }
  CHECK(host.warnings.empty());
}

}  // namespace

TEST_CASE("nvfp4 equals ModelOpt's bytes from bf16 and from float32") {
  check_against_modelopt("modelopt_nvfp4", "", {});
  check_against_modelopt("modelopt_nvfp4_fp32_source", ".float32", {});
}

TEST_CASE("nvfp4 with block 32 for an FP8 engine equals ModelOpt's W4A8_NVFP4_FP8") {
  check_against_modelopt("modelopt_w4a8_nvfp4_fp8", "",
                         {{"block", int64_t{32}}, {"math", std::string("fp8")}});
}

TEST_CASE(
    "nvfp4 equals ModelOpt's bytes when a sibling raised or a search clipped the global scale") {
  for (const char* file : {"modelopt_nvfp4_raised_global", "modelopt_nvfp4_clipped_global"}) {
    for (const CodecCase& c : codec_cases(file)) {
      if (!c.zero()) check_encoded_with(c);
    }
  }
}

TEST_CASE("nvfp4 takes the global scale from the fuse group") {
  FakeHost host;
  const Quantizer quantizer(host, component());
  WeightCase weight = weight_case(random_blob(kBf16, {8, 64}, 1));
  weight.group_absmax = 2 * weight.absmax;
  const auto got = quantizer.quantize(weight);
  CHECK(got.at("global_scale").as<float>()[0] == weight.group_absmax / 2688.0f);
}

TEST_CASE("an all-zero nvfp4 weight has scale 1, zero codes and a warning with its name") {
  FakeHost host;
  const Quantizer quantizer(host, component());
  const auto got = quantizer.quantize(
      {blob(kBf16, {4, 32}, std::string(256, '\0')), 0, 0, "model.layers.0.mlp.up_proj.weight"});
  CHECK(got.at("global_scale").as<float>()[0] == 1.0f);
  CHECK(got.at("scale").bytes == std::string(8, '\x38'));
  CHECK(got.at("payload").bytes == std::string(64, '\0'));
  REQUIRE(host.warnings.size() == 1);
  CHECK(host.warnings[0].find("model.layers.0.mlp.up_proj.weight") != std::string::npos);
}

TEST_CASE("nvfp4 vector kernels equal the reference for every type and instruction set") {
  for_all_targets([](const std::string& target) {
    CAPTURE(target);
    for (const DLDataType dtype : kSourceTypes) {
      for (const auto& [count, size] : {std::pair<int64_t, int64_t>{1, 16}, {63, 16}, {131, 32}}) {
        const Blob x = random_blob(dtype, {count, size}, 7);
        const TensorRef ref = x.ref();
        const nvfp4::Blocks blocks{count, size, 0.7f * test::absmax(x) / 2688.0f};
        std::vector<uint8_t> scales(static_cast<size_t>(count)), want_scales = scales;
        std::vector<uint8_t> codes(static_cast<size_t>(count * size / 2)), want_codes = codes;
        nvfp4::encode(reals(*ref), blocks, scales.data(), codes.data());
        nvfp4::reference::encode(reals(*ref), blocks, want_scales.data(), want_codes.data());
        CHECK(scales == want_scales);
        CHECK(codes == want_codes);

        Blob got = blob(dtype, x.shape), want = got;
        TensorRef got_ref = got.ref(), want_ref = want.ref();
        nvfp4::decode(scales.data(), codes.data(), blocks, reals_out(*got_ref.get()));
        nvfp4::reference::decode(scales.data(), codes.data(), blocks, reals_out(*want_ref.get()));
        CHECK(got.bytes == want.bytes);
        nvfp4::round_trip(reals(*ref), blocks, reals_out(*got_ref.get()));
        nvfp4::reference::round_trip(reals(*ref), blocks, reals_out(*want_ref.get()));
        CHECK(got.bytes == want.bytes);
      }
    }
  });
}

TEST_CASE("nvfp4 decodes every code with every scale as the product that the format states") {
  for_all_targets([](const std::string& target) {
    CAPTURE(target);
    for (int scale = 0; scale < 0x7F; ++scale) {
      const auto code = static_cast<uint8_t>(scale);
      const uint8_t codes[] = {0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE};
      float out[16];
      nvfp4::decode(&code, codes, {1, 16, 0.3f}, {out, Real::kF32});
      bool equal = true;
      for (int i = 0; i < 16; ++i) {
        const auto nibble = static_cast<uint8_t>(i);
        equal = equal && out[i] == e2m1::decode(nibble) * (e4m3::decode(code) * 0.3f);
      }
      CHECK(equal);
    }
  });
}

TEST_CASE("an nvfp4 input comes back as its weights would, rounded once to its type") {
  FakeHost host;
  const Quantizer quantizer(host, component());
  const Blob x = random_blob(kBf16, {5, 96}, 3);
  const float scale = quantizer.input_scale(MOPT_OPERAND_INPUT, absmax(x));
  const auto parts = quantizer.quantize(weight_case(x));
  CHECK(parts.at("global_scale").as<float>()[0] == scale);
  const Blob want = quantizer.dequantize(parts, 5, 96, kBf16);
  CHECK(quantizer.quantize_input(MOPT_OPERAND_INPUT, x, &scale).bytes == want.bytes);
  CHECK(quantizer.quantize_input(MOPT_OPERAND_INPUT, x, nullptr).bytes == want.bytes);
}

TEST_CASE("nvfp4 scales of inputs and of a KV cache have their own divisors and are never zero") {
  FakeHost host;
  const Quantizer quantizer(host, component());
  CHECK(quantizer.input_scale(MOPT_OPERAND_INPUT, 3.0f) == 3.0f / 2688.0f);
  CHECK(quantizer.input_scale(MOPT_OPERAND_KV, 3.0f) == 3.0f / 448.0f);
  CHECK(quantizer.input_scale(MOPT_OPERAND_INPUT, 0.0f) == 1.0f);
}

TEST_CASE("nvfp4 opens its own schemes and no other") {
  FakeHost host;
  const Quantizer made(host, component());
  for (const mopt_operand operand : {MOPT_OPERAND_WEIGHT, MOPT_OPERAND_INPUT, MOPT_OPERAND_KV}) {
    const Quantizer opened(host, component(), made.scheme(operand));
    CHECK(opened.scheme(operand) == made.scheme(operand));
  }
  Scheme other = made.scheme(MOPT_OPERAND_WEIGHT);
  other.scale = kE8m0;
  CHECK_THROWS_AS(Quantizer(host, component(), other), Error);
  const Quantizer wide(host, component(), {{"block", int64_t{32}}});
  CHECK_THROWS_WITH(wide.scheme(MOPT_OPERAND_INPUT), doctest::Contains("does not serve inputs"));
}

TEST_CASE("nvfp4 refuses columns that its block does not divide, and odd blocks") {
  FakeHost host;
  const Quantizer quantizer(host, component());
  CHECK_THROWS_WITH(quantizer.plan(blob(kBf16, {4, 4100})),
                    "nvfp4 needs a multiple of 16 columns, found 4100; leave it out with a rule");
  CHECK_THROWS_WITH(Quantizer(host, component(), {{"block", int64_t{24}}}),
                    "block must be 16 or 32, found 24; use block = 16");
}

}  // namespace mopt::test
