// Stored elements to an output type, in pieces that stay in the first-level cache.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "mopt/numeric/bf16.hpp"
#include "mopt/numeric/fp16.hpp"
#include "types.hpp"

namespace mopt::gguf {

inline constexpr int64_t kPiece = 1024;  // elements; a multiple of every block

// n elements (whole blocks) from `from` to `to`, which has type `dtype`: f32, bf16 or f16, or the
// stored type.
inline void decode(const Type& type, const uint8_t* from, int64_t n, DLDataType dtype,
                   std::byte* to) {
  if (same(type.plain, dtype)) {
    std::memcpy(to, from, static_cast<size_t>(n / type.block_elements * type.block_bytes));
    return;
  }
  if (same(dtype, kF32)) {
    type.decode(from, n / type.block_elements, reinterpret_cast<float*>(to));
    return;
  }
  const bool to_bf16 = same(dtype, kBf16);
  float piece[kPiece];
  for (int64_t at = 0; at < n; at += kPiece) {
    const int64_t m = std::min(kPiece, n - at);
    type.decode(from + at / type.block_elements * type.block_bytes, m / type.block_elements, piece);
    auto* out = reinterpret_cast<uint16_t*>(to) + at;
    if (to_bf16) {
      for (int64_t i = 0; i < m; ++i)
        out[i] = bf16::encode(piece[i]);
    } else {
      for (int64_t i = 0; i < m; ++i)
        out[i] = fp16::encode(piece[i]);
    }
  }
}

}  // namespace mopt::gguf
