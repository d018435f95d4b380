// Checkpoints that a test makes or reads as a whole, without any code of the product.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/golden.hpp"
#include "tests/model_files.hpp"

namespace mopt::test {

float from_bf16(uint16_t bits);
uint16_t to_bf16(float value);  // nearest, ties to even; not for NaN

// The values of a BF16 or F32 tensor.
std::vector<float> floats(const StoredTensor&);
StoredTensor f32_tensor(std::vector<int64_t> shape, const std::vector<float>&);
StoredTensor bf16_tensor(std::vector<int64_t> shape, const std::vector<float>&);
StoredTensor i64_tensor(std::vector<int64_t> shape, const std::vector<int64_t>&);

void write_safetensors(const std::filesystem::path&, const Tensors&);
// Every tensor of a checkpoint's weight files.
Tensors read_checkpoint(const std::filesystem::path& directory);

// max |a-b| / max |b|; NaN when either holds one.
double distance(const std::vector<float>& a, const std::vector<float>& b);

}  // namespace mopt::test
