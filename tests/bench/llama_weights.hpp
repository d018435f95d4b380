// Llama checkpoints of any size with random BF16 weights, row by row: what make_llama writes and
// what the test format "synthetic" presents. Rows depend on seed, tensor name and row number alone.
//
// A matrix is normal with a standard deviation of its own (0.014 to 0.034); one input channel in
// 256 is four times, one output channel in 128 twice as large. Norms are near 1. Activations of a
// model of 80 layers stay far below the range of BF16.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mopt::bench {

struct LlamaShape {
  int64_t hidden = 4096, feed_forward = 14336, layers = 32, heads = 32, kv_heads = 8,
          vocabulary = 128256;
  uint64_t seed = 1;
  int64_t kv_width() const { return hidden / heads * kv_heads; }
};

// The shape of "8b" or "70b" of Llama 3. Throws std::invalid_argument for another name.
LlamaShape preset(std::string_view name);
// Throws std::invalid_argument with a sentence when no model has this shape.
void check_shape(const LlamaShape&);

struct LlamaTensor {
  std::string name;
  std::vector<int64_t> shape;  // [rows, columns], of a norm [columns]
  int64_t rows() const { return shape.size() == 2 ? shape[0] : 1; }
  int64_t cols() const { return shape.back(); }
  uint64_t bytes() const { return 2 * static_cast<uint64_t>(rows() * cols()); }
};

// In the order of a forward pass: embedding, layers, norm, head.
std::vector<LlamaTensor> llama_tensors(const LlamaShape&);
// config.json, as transformers and the adapter read it.
std::string llama_config(const LlamaShape&);
// Tokens for calibration: uniform ids below the vocabulary, never 0, 1 or 2.
std::vector<int64_t> llama_ids(const LlamaShape&, int64_t count);

class LlamaWeights {
 public:
  explicit LlamaWeights(uint64_t seed);
  // BF16 bits of rows [begin, end), row-major, into end - begin times the columns. [concurrent]
  void fill(const LlamaTensor&, int64_t begin, int64_t end, uint16_t* out) const;
  // What fixes a tensor's values beside its shape.
  uint64_t tensor_seed(std::string_view name) const;

 private:
  std::span<const uint16_t> table(const LlamaTensor&, uint64_t key) const;

  uint64_t seed_;
  std::vector<uint16_t> tables_;  // kTables of kDraws + kRun draws; the last one is for norms
};

}  // namespace mopt::bench
