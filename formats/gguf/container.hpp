// One GGUF file, version 2 or 3, little-endian, strictly checked.
//
//   "GGUF", u32 version, i64 n_tensors, i64 n_kv
//   n_kv times     string key, i32 type, value       string: u64 length, bytes
//   n_tensors times string name, u32 n_dims, i64 ne[n_dims], i32 type, u64 offset
//   padding to general.alignment (32), then the data: offsets count from here
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "metadata.hpp"
#include "types.hpp"

namespace mopt::gguf {

struct StoredTensor {
  std::string_view name;
  const Type* type;
  std::vector<int64_t> shape;  // row-major: ne reversed
  uint64_t offset, nbytes;     // in the file
};

struct Container {
  Metadata metadata;
  std::vector<StoredTensor> tensors;
};

// `bytes` is the whole file and must outlive the result; `file` is its path for messages.
Container parse_container(std::span<const uint8_t> bytes, const std::string& file);

}  // namespace mopt::gguf
