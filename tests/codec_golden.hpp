// For tests of number formats: the matrices of golden/codec beside what the original implementation
// made of them; and the checks that every format shares.
#pragma once

#include <doctest/doctest.h>

#include <hwy/highway.h>
#include <cmath>
#include <random>

#include "mopt/numeric/reals.hpp"
#include "tests/fake_host.hpp"
#include "tests/golden.hpp"

namespace mopt::test {

struct CodecCase {
  std::string matrix;  // "plain_32x64"
  Blob input;          // [rows, cols] bf16, or f32 where asked for
  Tensors expected;    // by the format's own tensor names: "weight", "weight_scale", "dequant"
  bool zero() const { return matrix.starts_with("zero_"); }
  int64_t rows() const { return input.shape[0]; }
  int64_t cols() const { return input.shape[1]; }
};

// The cases of golden/codec/<file>. Empty, with a message, when the file is not there.
inline std::vector<CodecCase> codec_cases(const std::string& file, const std::string& suffix = "") {
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

inline float absmax(const Blob& x) {
  float most = 0;
  const TensorRef ref = x.ref();
  visit(reals(*ref), [&](const auto* p) {
    for (int64_t i = 0; i < elements(x.shape); ++i)
      most = std::max(most, std::fabs(to_float(p[i])));
  });
  return most;
}

inline WeightCase weight_case(const Blob& weight, const std::string& name = "w") {
  const float most = absmax(weight);
  return {weight, most, most, name};
}

// Decoded values equal the peer's within 1e-6 of the largest (golden/README.md).
inline void check_dequant(const Blob& got, const StoredTensor& want) {
  const auto a = got.as<float>(), b = want.as<float>();
  REQUIRE(a.size() == b.size());
  float largest = 0, difference = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::fabs(b[i]));
    difference = std::max(difference, std::fabs(a[i] - b[i]));
  }
  CHECK(difference <= 1e-6f * largest);
}

// Random numbers of one type, of many magnitudes, with zeros of both signs and, at times, zero
// runs.
inline Blob random_blob(DLDataType dtype, std::vector<int64_t> shape, uint32_t seed) {
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

// Calls fn(name) with every instruction set that this machine has chosen in turn.
template <class Fn>
void for_all_targets(Fn&& fn) {
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    fn(std::string(hwy::TargetName(target)));
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

inline constexpr DLDataType kSourceTypes[] = {kF32, kBf16, kF16};

}  // namespace mopt::test
