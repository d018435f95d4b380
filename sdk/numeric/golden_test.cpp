#include <doctest/doctest.h>

#include <bit>
#include <cmath>

#include "mopt/numeric/bf16.hpp"
#include "mopt/numeric/e2m1.hpp"
#include "mopt/numeric/e4m3.hpp"
#include "mopt/numeric/e5m2.hpp"
#include "mopt/numeric/fp16.hpp"
#include "tests/golden.hpp"

namespace mopt::test {
namespace {

Tensors scalars() {
  const std::string path = golden("codec/scalars.safetensors");
  if (path.empty()) {
    MESSAGE("no codec/scalars.safetensors: compared with laws only");
    return {};
  }
  return read_safetensors(path);
}

// Counts the differences between want[i] and got(in[i]), and fails on any.
template <class In, class Out, class Fn>
void check_table(const std::vector<In>& in, const std::vector<Out>& want, Fn got) {
  REQUIRE(in.size() == want.size());
  int wrong = 0;
  for (size_t i = 0; i < in.size(); ++i)
    wrong += got(in[i]) != want[i];
  CHECK(wrong == 0);
}

std::vector<uint16_t> all_16_bit_patterns() {
  std::vector<uint16_t> patterns(0x10000);
  for (size_t i = 0; i < patterns.size(); ++i)
    patterns[i] = static_cast<uint16_t>(i);
  return patterns;
}

}  // namespace

TEST_CASE("casts from every bf16 and fp16 pattern equal PyTorch's") {
  const Tensors t = scalars();
  if (!t.contains("bf16_to_e4m3fn")) {
    MESSAGE("the exhaustive tables are only in the full golden set: not compared");
    return;
  }
  const auto patterns = all_16_bit_patterns();
  const auto from_bf16 = [](auto encode) {
    return [encode](uint16_t bits) { return encode(bf16::decode(bits)); };
  };
  const auto from_fp16 = [](auto encode) {
    return [encode](uint16_t bits) { return encode(fp16::decode(bits)); };
  };
  check_table(patterns, t.at("bf16_to_e4m3fn").as<uint8_t>(), from_bf16(e4m3::encode));
  check_table(patterns, t.at("fp16_to_e4m3fn").as<uint8_t>(), from_fp16(e4m3::encode));
  check_table(patterns, t.at("bf16_to_e5m2").as<uint8_t>(), from_bf16(e5m2::encode));
  check_table(patterns, t.at("fp16_to_e5m2").as<uint8_t>(), from_fp16(e5m2::encode));
}

TEST_CASE("casts from float32 equal PyTorch's") {
  const Tensors t = scalars();
  if (t.empty()) return;
  const auto x = t.at("float32").as<float>();
  check_table(x, t.at("float32_to_bf16").as<uint16_t>(), bf16::encode);
  check_table(x, t.at("float32_to_fp16").as<uint16_t>(), fp16::encode);
  check_table(x, t.at("float32_to_e4m3fn").as<uint8_t>(), e4m3::encode);
  check_table(x, t.at("float32_to_e5m2").as<uint8_t>(), e5m2::encode);
}

TEST_CASE("decode tables equal PyTorch's, NaN where it has NaN") {
  const Tensors t = scalars();
  if (t.empty()) return;
  const auto four = t.at("e4m3fn_to_float32").as<float>();
  const auto five = t.at("e5m2_to_float32").as<float>();
  const auto equal = [](float a, float b) {
    return std::isnan(a) ? std::isnan(b) : std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
  };
  for (int code = 0; code < 256; ++code) {
    CAPTURE(code);
    CHECK(equal(four[static_cast<size_t>(code)], e4m3::decode(static_cast<uint8_t>(code))));
    CHECK(equal(five[static_cast<size_t>(code)], e5m2::decode(static_cast<uint8_t>(code))));
  }
}

TEST_CASE("both e2m1 roundings equal ModelOpt's encoders") {
  const Tensors t = scalars();
  if (t.empty()) return;
  const auto x = t.at("e2m1_in").as<float>();
  check_table(x, t.at("e2m1_nvfp4_nibble").as<uint8_t>(), e2m1::encode);
  check_table(x, t.at("e2m1_mxfp4_nibble").as<uint8_t>(), e2m1::encode_tie_to_zero);
}

}  // namespace mopt::test
