#include "int4.hpp"

#include "mopt/numeric/int4.hpp"
#include "tests/codec_golden.hpp"

namespace mopt::test {
namespace {

const mopt_component& component() {
  return component_named(*mopt_plugin_entry_v0(), "int4");
}

std::vector<Option> block(int64_t size) {
  return {{"block", size}};
}

// One code per byte, from two elements of a row per byte.
std::string unpacked(const Blob& payload) {
  std::string out;
  for (const char byte : payload.bytes) {
    out.push_back(static_cast<char>(byte & 15));
    out.push_back(static_cast<char>(byte >> 4 & 15));
  }
  return out;
}

// The same from ModelOpt's W4A16_AWQ layout [rows/2, cols]: rows 2i (low) and 2i+1 share a byte.
std::string unpacked_along_rows(const StoredTensor& packed) {
  const auto cols = static_cast<size_t>(packed.shape[1]);
  std::string out(packed.bytes.size() * 2, '\0');
  for (size_t i = 0; i < packed.bytes.size(); ++i) {
    const size_t pair = i / cols, col = i % cols;
    out[2 * pair * cols + col] = static_cast<char>(packed.bytes[i] & 15);
    out[(2 * pair + 1) * cols + col] = static_cast<char>(packed.bytes[i] >> 4 & 15);
  }
  return out;
}

}  // namespace

TEST_CASE("int4 equals ModelOpt's codes and scales in blocks of 128 and of 32") {
  FakeHost host;
  for (const auto& [file, size] :
       {std::pair<const char*, int64_t>{"modelopt_int4_b128", 128}, {"modelopt_int4_b32", 32}}) {
    const Quantizer quantizer(host, component(), block(size));
    for (const CodecCase& c : codec_cases(file)) {
      CAPTURE(c.matrix);
      const auto got = quantizer.quantize(weight_case(c.input));
      CHECK(unpacked(got.at("payload")) == unpacked_along_rows(c.expected.at("weight")));
      CHECK(got.at("scale").bytes == c.expected.at("weight_scale").bytes);
      check_dequant(quantizer.dequantize(got, c.rows(), c.cols()), c.expected.at("dequant"));
    }
  }
}

TEST_CASE("an all-zero int4 weight has scale 1, zero codes and a warning with its name") {
  FakeHost host;
  const Quantizer quantizer(host, component(), block(32));
  const auto got =
      quantizer.quantize({blob(kF16, {4, 32}, std::string(256, '\0')), 0, 0, "w.zero"});
  CHECK(got.at("scale").as<float>() == std::vector<float>(4, 1.0f));
  CHECK(got.at("payload").bytes == std::string(64, '\0'));
  REQUIRE(host.warnings.size() == 1);
  CHECK(host.warnings[0].find("w.zero") != std::string::npos);
}

TEST_CASE("int4 vector kernels equal the reference for every type, block and instruction set") {
  for_all_targets([](const std::string& target) {
    CAPTURE(target);
    for (const DLDataType dtype : kSourceTypes) {
      for (const int64_t size : {16, 18, 24, 32, 100, 128}) {
        const int64_t count = 37;
        const int4::Blocks blocks{count, size};
        const Blob x = random_blob(dtype, {count, size}, static_cast<uint32_t>(size));
        const TensorRef ref = x.ref();
        std::vector<float> scales(static_cast<size_t>(count)), want_scales = scales;
        std::vector<uint8_t> codes(static_cast<size_t>(count * size / 2)), want_codes = codes;
        int4::encode(reals(*ref), blocks, scales.data(), codes.data());
        int4::reference::encode(reals(*ref), blocks, want_scales.data(), want_codes.data());
        CHECK(scales == want_scales);
        CHECK(codes == want_codes);
        Blob got = blob(dtype, x.shape), want = got;
        TensorRef got_ref = got.ref(), want_ref = want.ref();
        int4::decode(scales.data(), codes.data(), blocks, reals_out(*got_ref.get()));
        int4::reference::decode(scales.data(), codes.data(), blocks, reals_out(*want_ref.get()));
        CHECK(got.bytes == want.bytes);
      }
    }
  });
}

TEST_CASE("int4 decodes every code as a two's complement number times its scale") {
  const uint8_t codes[] = {0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE};
  const float scale = 0.3f;
  for_all_targets([&](const std::string& target) {
    CAPTURE(target);
    float out[16];
    int4::decode(&scale, codes, {1, 16}, {out, Real::kF32});
    for (int i = 0; i < 16; ++i)
      CHECK(out[i] == static_cast<float>(i < 8 ? i : i - 16) * scale);
  });
}

TEST_CASE("int4 refuses columns that its block does not divide and names the blocks that fit") {
  FakeHost host;
  const Quantizer quantizer(host, component());
  CHECK_THROWS_WITH(quantizer.plan(blob(kBf16, {4, 576})),
                    "block 128 does not divide its 576 columns; use block = 16, 32 or 64, or leave "
                    "it out with a rule");
  CHECK_THROWS_WITH(quantizer.plan(blob(kBf16, {4, 100})),
                    "block 128 does not divide its 100 columns; no power of two from 16 on does; "
                    "leave it out with a rule");
  CHECK_THROWS_WITH(Quantizer(host, component(), block(17)),
                    "block must be even, found 17; use block = 18");
}

TEST_CASE("int4 opens its own schemes and holds weights only") {
  FakeHost host;
  for (const int64_t size : {16, 128, 1024}) {
    const Quantizer made(host, component(), block(size));
    const Scheme scheme = made.scheme(MOPT_OPERAND_WEIGHT);
    CHECK(Quantizer(host, component(), scheme).scheme(MOPT_OPERAND_WEIGHT) == scheme);
    CHECK_THROWS_WITH(made.scheme(MOPT_OPERAND_INPUT), doctest::Contains("does not serve inputs"));
    Scheme other = scheme;
    other.block_rows = 2;
    CHECK_THROWS_AS(Quantizer(host, component(), other), Error);
    other = scheme;
    other.block_cols = 8;
    CHECK_THROWS_AS(Quantizer(host, component(), other), Error);
  }
}

}  // namespace mopt::test
