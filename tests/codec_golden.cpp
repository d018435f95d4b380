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
