// Checkpoints that a test makes or reads as a whole, without any code of the product.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/golden.hpp"

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
void write_text(const std::filesystem::path&, const std::string&);

// max |a-b| / max |b|; NaN when either holds one.
double distance(const std::vector<float>& a, const std::vector<float>& b);

struct LlamaSize {
  int64_t layers = 8, hidden = 256, feed_forward = 512, vocabulary = 256, heads = 8, kv_heads = 4;
};
// A Llama in bf16 with weights from a fixed pseudo-random sequence: config.json, model.safetensors.
void write_random_llama(const std::filesystem::path& directory, const LlamaSize&);
// A file with `input_ids` [rows, tokens].
void write_random_ids(const std::filesystem::path& file, int64_t rows, int64_t tokens,
                      int64_t vocabulary);

}  // namespace mopt::test
