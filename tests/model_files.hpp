// Small models for tests, written without any code of the product: safetensors files, and a llama
// of a few kilobytes whose weights are a function of their names.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "tests/temp_directory.hpp"

namespace mopt::test {

void write_text(const std::filesystem::path& path, std::string_view text);

std::string read_text(const std::filesystem::path& path);

struct FileTensor {
  std::string name, dtype;  // "BF16", "F16", "F32", "I64", "U8"
  std::vector<int64_t> shape;
  std::string bytes;
};

void write_safetensors(const std::filesystem::path& path, const std::vector<FileTensor>& tensors);

// binary16 of a small multiple of 2^-10, exact.
uint16_t half_bits(float x);

// Values mean + k / 128 with |k| < 64, exact in every type, drawn by the tensor's name.
FileTensor random_tensor(const std::string& name, const std::string& dtype,
                         std::vector<int64_t> shape, float mean = 0);

enum class Head { kOwn, kTied, kTiedAndStored };

struct LlamaOptions {
  int64_t layers = 2, hidden = 32, intermediate = 64, heads = 2, kv_heads = 1, vocab = 48,
          positions = 128;
  std::string dtype = "BF16";
  Head head = Head::kOwn;
  std::string bias = "none";  // "qkvo": attention_bias
  std::vector<FileTensor> more = {};
};

// Eight layers, four megabytes: runs long enough to be interrupted.
inline const LlamaOptions kSmallLlama{.layers = 8,
                                      .hidden = 256,
                                      .intermediate = 512,
                                      .heads = 8,
                                      .kv_heads = 4,
                                      .vocab = 256,
                                      .positions = 1024};

std::vector<FileTensor> llama_tensors(const LlamaOptions& o);

nlohmann::json llama_config(const LlamaOptions& o);

void write_llama(const std::filesystem::path& dir, const LlamaOptions& options = {});

// An id file: "input_ids" [rows, tokens], I64.
void write_ids(const std::filesystem::path& path, int64_t rows, int64_t tokens, int64_t vocab,
               unsigned seed = 1);

}  // namespace mopt::test
