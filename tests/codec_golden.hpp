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

// Calls fn(name) with every instruction set that this machine has chosen in turn.
void for_all_targets(const std::function<void(const std::string&)>& fn);

inline constexpr DLDataType kSourceTypes[] = {kF32, kBf16, kF16};

}  // namespace mopt::test
