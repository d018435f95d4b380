// Tensor types of GGUF: block geometry of all known ones, and how the decodable ones become
// float32.
#pragma once

#include <cstdint>
#include <string_view>

#include "mopt/tensor.hpp"

namespace mopt::gguf {

// n_blocks blocks at `from`, which need not be aligned, to n_blocks * block_elements floats.
using DecodeBlocks = void (*)(const uint8_t* from, int64_t n_blocks, float* to);

struct Type {
  uint32_t id;
  std::string_view name;  // ggml's; static
  int64_t block_elements, block_bytes;
  DecodeBlocks decode;  // null: can be listed and not read
  DLDataType plain;     // of the stored elements; bits 0 when they are codes
  bool quantized() const { return plain.bits == 0; }
  bool is_float() const { return plain.code == kDLFloat || plain.code == kDLBfloat; }
};

const Type* find_type(uint32_t id);

}  // namespace mopt::gguf
