#include "tests/codec_golden.hpp"

#include <hwy/highway.h>
#include <random>

namespace mopt::test {

std::vector<CodecCase> codec_cases(const std::string& file, const std::string& suffix) {
  const std::string path = golden("codec/" + file + ".safetensors");
  const std::string inputs_path = golden("codec/inputs.safetensors");
  std::vector<CodecCase> cases;
  if (path.empty() || inputs_path.empty()) {
    MESSAGE("no codec/" << file << ".safetensors: not compared");
    return cases;
  }
  const Tensors inputs = read_safetensors(inputs_path);
  for (const auto& [name, tensor] : read_safetensors(path)) {
    const size_t dot = name.find('.');
    const std::string matrix = name.substr(0, dot);
    if (cases.empty() || cases.back().matrix != matrix) {
      const StoredTensor& input = inputs.at(matrix + suffix);
      const DLDataType dtype = input.dtype == "F32" ? kF32 : kBf16;
      cases.push_back({matrix, blob(dtype, input.shape, input.bytes), {}});
    }
    cases.back().expected[name.substr(dot + 1)] = tensor;
  }
  CHECK_FALSE(cases.empty());
  return cases;
}

float absmax(const Blob& x) {
  float most = 0;
  const TensorRef ref = x.ref();
  visit(reals(*ref), [&](const auto* p) {
    for (int64_t i = 0; i < elements(x.shape); ++i)
      most = std::max(most, std::fabs(to_float(p[i])));
  });
  return most;
}

WeightCase weight_case(const Blob& weight, const std::string& name) {
  const float most = absmax(weight);
  return {weight, most, most, name};
}

void check_dequant(const Blob& got, const StoredTensor& want) {
  const auto a = got.as<float>(), b = want.as<float>();
  REQUIRE(a.size() == b.size());
  float largest = 0, difference = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::fabs(b[i]));
    difference = std::max(difference, std::fabs(a[i] - b[i]));
  }
  CHECK(difference <= 1e-6f * largest);
}

Blob random_blob(DLDataType dtype, std::vector<int64_t> shape, uint32_t seed) {
  Blob out = blob(dtype, std::move(shape));
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  TensorRef ref = out.ref();
  visit(reals_out(*ref.get()), [&](auto* p) {
    for (int64_t i = 0; i < elements(out.shape); ++i) {
      const uint32_t dice = random() % 64;
      const float scale = std::ldexp(1.0f, static_cast<int>(random() % 12) - 8);
      float x = normal(random) * scale;
      if (dice == 0) x = 0.0f;
      if (dice == 1) x = -0.0f;
      if (dice == 2) x = std::round(x * 8) / 8;
      if (i / 32 % 29 == 7) x = 0.0f;
      put(x, p[i]);
    }
  });
  return out;
}

std::vector<Option> granularity(const char* value) {
  return {{"granularity", std::string(value)}};
}

void check_zero_weight(const mopt_component& component, const std::vector<Option>& options) {
  FakeHost host;
  const Quantizer quantizer(host, component, options);
  const auto got =
      quantizer.quantize({blob(kBf16, {4, 32}, std::string(256, '\0')), 0, 0, "w.zero"});
  for (const float scale : got.at("scale").as<float>())
    CHECK(scale == 1.0f);
  CHECK(got.at("payload").bytes == std::string(128, '\0'));
  REQUIRE(host.warnings.size() == 1);
  CHECK(host.warnings[0].find("w.zero") != std::string::npos);
}

Blob round_tripped(RoundTrip reference, const Blob& x, float scale) {
  Blob out = blob(x.dtype, x.shape);
  const TensorRef in = x.ref();
  TensorRef to = out.ref();
  reference(reals(*in), elements(x.shape), scale, reals_out(*to.get()));
  return out;
}

void check_inputs(const mopt_component& component, RoundTrip reference, float bound) {
  FakeHost host;
  for (const DLDataType dtype : {kBf16, kF32}) {
    const Blob x = random_blob(dtype, {3, 200}, 5);
    const Quantizer tensor(host, component, granularity("tensor"));
    const float scale = tensor.input_scale(MOPT_OPERAND_INPUT, absmax(x) / 2);
    CHECK(tensor.quantize_input(MOPT_OPERAND_INPUT, x, &scale).bytes ==
          round_tripped(reference, x, scale).bytes);
    const Quantizer token(host, component, granularity("token"));
    std::string want;
    for (size_t r = 0; r < 3; ++r) {
      const size_t bytes = x.bytes.size() / 3;
      const Blob row = blob(dtype, {1, 200}, x.bytes.substr(r * bytes, bytes));
      want += round_tripped(reference, row, absmax(row) / bound).bytes;
    }
    CHECK(token.quantize_input(MOPT_OPERAND_INPUT, x, nullptr).bytes == want);
  }
}

void for_all_targets(const std::function<void(const std::string&)>& fn) {
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    fn(std::string(hwy::TargetName(target)));
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

}  // namespace mopt::test
