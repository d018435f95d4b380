#include "int8.hpp"

#include "mopt/numeric/int8.hpp"
#include "tests/codec_golden.hpp"

namespace mopt::test {
namespace {

const mopt_component& component() {
  return component_named(*mopt_plugin_entry_v0(), "int8");
}

}  // namespace

TEST_CASE("int8 per channel equals ModelOpt's bytes") {
  FakeHost host;
  const Quantizer quantizer(host, component());
  for (const CodecCase& c : codec_cases("modelopt_int8")) {
    CAPTURE(c.matrix);
    const auto got = quantizer.quantize(weight_case(c.input));
    CHECK(got.at("payload").bytes == c.expected.at("weight").bytes);
    CHECK(got.at("scale").bytes == c.expected.at("weight_scale").bytes);
    check_dequant(quantizer.dequantize(got, c.rows(), c.cols()), c.expected.at("dequant"));
  }
}

TEST_CASE("int8 per tensor is off by at most half a step and uses the whole range") {
  FakeHost host;
  const Quantizer quantizer(host, component(), granularity("tensor"));
  const Blob weight = random_blob(kF32, {7, 33}, 4);
  const auto got = quantizer.quantize(weight_case(weight));
  const float scale = got.at("scale").as<float>()[0];
  CHECK(scale == absmax(weight) / 127.0f);
  const auto back = quantizer.dequantize(got, 7, 33).as<float>(), x = weight.as<float>();
  for (size_t i = 0; i < x.size(); ++i) {
    CHECK(std::fabs(back[i] - x[i]) <= scale * 0.50001f);
  }
  const auto codes = got.at("payload").as<int8_t>();
  CHECK(std::any_of(codes.begin(), codes.end(), [](int8_t q) { return q == 127 || q == -127; }));
}

TEST_CASE("an all-zero int8 weight has scale 1, zero codes and a warning with its name") {
  for (const char* kind : {"tensor", "channel"})
    check_zero_weight(component(), granularity(kind));
}

TEST_CASE("int8 vector kernels equal the reference for every type, length and instruction set") {
  for_all_targets([](const std::string& target) {
    CAPTURE(target);
    for (const DLDataType dtype : kSourceTypes) {
      for (const int64_t n : {1, 15, 16, 17, 1000}) {
        const Blob x = random_blob(dtype, {1, n}, static_cast<uint32_t>(n));
        const TensorRef ref = x.ref();
        const float most = int8::absmax(reals(*ref), n);
        CHECK(most == absmax(x));
        // A third of the range: part of the elements saturate.
        const float scale = most / 3 / 127.0f;
        std::vector<int8_t> codes(static_cast<size_t>(n)), want = codes;
        int8::encode(reals(*ref), n, scale, codes.data());
        int8::reference::encode(reals(*ref), n, scale, want.data());
        CHECK(codes == want);
        Blob got = blob(dtype, x.shape);
        TensorRef to = got.ref();
        int8::round_trip(reals(*ref), n, scale, reals_out(*to.get()));
        CHECK(got.bytes == round_tripped(int8::reference::round_trip, x, scale).bytes);
      }
    }
  });
}

TEST_CASE("int8 decodes every code as the product that the format states") {
  std::vector<int8_t> codes(256);
  for (size_t i = 0; i < codes.size(); ++i)
    codes[i] = static_cast<int8_t>(i);
  for_all_targets([&](const std::string& target) {
    CAPTURE(target);
    std::vector<float> out(256);
    int8::decode(codes.data(), 256, 0.3f, {out.data(), Real::kF32});
    for (size_t i = 0; i < codes.size(); ++i) {
      CHECK(out[i] == static_cast<float>(codes[i]) * 0.3f);
    }
  });
}

TEST_CASE("an int8 input is rounded with the stored scale, or token by token; NaN stays NaN") {
  check_inputs(component(), int8::reference::round_trip, 127.0f);
  std::vector<float> x(17, std::numeric_limits<float>::quiet_NaN());
  std::vector<float> out(17);
  for_all_targets([&](const std::string& target) {
    CAPTURE(target);
    int8::round_trip({x.data(), Real::kF32}, 17, 1.0f, {out.data(), Real::kF32});
    for (const float value : out)
      CHECK(std::isnan(value));
  });
}

TEST_CASE("int8 states what each granularity holds and opens exactly that") {
  FakeHost host;
  const Quantizer channel(host, component());
  const Quantizer tensor(host, component(), granularity("tensor"));
  const Quantizer token(host, component(), granularity("token"));
  CHECK(channel.scheme(MOPT_OPERAND_WEIGHT).granularity == MOPT_PER_CHANNEL);
  CHECK(channel.scheme(MOPT_OPERAND_INPUT) == tensor.scheme(MOPT_OPERAND_INPUT));
  CHECK(token.scheme(MOPT_OPERAND_INPUT).flags == MOPT_SCHEME_DYNAMIC);
  CHECK_THROWS_WITH(token.scheme(MOPT_OPERAND_WEIGHT), doctest::Contains("does not serve weights"));
  CHECK_THROWS_WITH(channel.scheme(MOPT_OPERAND_KV), doctest::Contains("a KV cache"));
  for (const Scheme& scheme :
       {channel.scheme(MOPT_OPERAND_WEIGHT), tensor.scheme(MOPT_OPERAND_WEIGHT)}) {
    CHECK(Quantizer(host, component(), scheme).scheme(MOPT_OPERAND_WEIGHT) == scheme);
    Scheme other = scheme;
    other.element = kI4;
    CHECK_THROWS_AS(Quantizer(host, component(), other), Error);
  }
}

}  // namespace mopt::test
