// The header of one safetensors file, strictly checked.
//
//   bytes 0..7      n, little-endian u64, at most 100,000,000
//   bytes 8..8+n-1  JSON: {"name": {"dtype": "F16", "shape": [..], "data_offsets": [begin, end]},
//   ..},
//                   optionally "__metadata__": {"key": "value"}; may be padded with spaces
//   then            the tensors, back to back in the order of begin, up to the end of the file
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dtypes.hpp"

namespace mopt::safetensors {

inline constexpr uint64_t kMaxHeader = 100'000'000;

struct Entry {
  std::string_view name;  // into Header::names
  const Dtype* dtype = nullptr;
  size_t first_extent = 0;  // into Header::extents
  size_t ndim = 0;
  uint64_t begin = 0, end = 0;  // in the file, bytes
};

struct Header {
  std::vector<Entry> tensors;  // in the order of their data
  std::vector<int64_t> extents;
  std::unique_ptr<char[]> names;  // back to back; one block, for there may be half a million
  std::string metadata = "{}";    // the "__metadata__" object as JSON text
  std::span<const int64_t> shape(const Entry& entry) const {
    return std::span(extents).subspan(entry.first_extent, entry.ndim);
  }
};

// `bytes` is the whole file, `file` its path for messages. Throws MOPT_DATA_LOSS, and
// MOPT_UNSUPPORTED for an unknown type.
Header parse_header(std::span<const uint8_t> bytes, std::string_view file);

}  // namespace mopt::safetensors
