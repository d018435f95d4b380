// For tests of number formats: the matrices of golden/codec beside what the original implementation
// made of them; and the checks that every format shares.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <functional>

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
std::vector<CodecCase> codec_cases(const std::string& file, const std::string& suffix = "");

float absmax(const Blob& x);

WeightCase weight_case(const Blob& weight, const std::string& name = "w");

// Decoded values equal the peer's within 1e-6 of the largest (golden/README.md).
void check_dequant(const Blob& got, const StoredTensor& want);

// Random numbers of one type, of many magnitudes, with zeros of both signs and, at times, zero
// runs.
Blob random_blob(DLDataType dtype, std::vector<int64_t> shape, uint32_t seed);

// The options of a format whose scales are shared by `value`: "tensor", "channel", ...
std::vector<Option> granularity(const char* value);

// A weight of zeros: scales of 1, zero codes, one warning with the weight's name.
void check_zero_weight(const mopt_component& component, const std::vector<Option>& options);

// Encoding and decoding in one, element by element: what a layer sees of its input.
using RoundTrip = void (*)(Reals x, int64_t n, float scale, RealsOut out);
Blob round_tripped(RoundTrip reference, const Blob& x, float scale);

// Inputs are rounded with the stored scale, or token by token with scales of absmax / bound.
void check_inputs(const mopt_component& component, RoundTrip reference, float bound);

// Calls fn(name) with every instruction set that this machine has chosen in turn.
void for_all_targets(const std::function<void(const std::string&)>& fn);

inline constexpr DLDataType kSourceTypes[] = {kF32, kBf16, kF16};

}  // namespace mopt::test
