// Golden data for tests: finds a file, reads a safetensors file without any code of the product.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace mopt::test {

// The path of a golden file: from the full set beside the checkout when it is there, else from
// tests/golden; empty when neither has it.
std::string golden(const std::string& relative);

std::string read_file(const std::string& path);

struct StoredTensor {
  std::string dtype;  // "BF16", "F32", "U8", ...
  std::vector<int64_t> shape;
  std::string bytes;
  template <class T>
  std::vector<T> as() const {
    std::vector<T> out(bytes.size() / sizeof(T));
    std::memcpy(out.data(), bytes.data(), out.size() * sizeof(T));
    return out;
  }
};

using Tensors = std::map<std::string, StoredTensor>;

Tensors read_safetensors(const std::string& path);

}  // namespace mopt::test
