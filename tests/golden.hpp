// Golden data for tests: finds a file, reads a safetensors file without any code of the product.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace mopt::test {

// The path of a golden file: from the full set beside the checkout when it is there, else from
// tests/golden; empty when neither has it.
inline std::string golden(const std::string& relative) {
  for (const auto& [variable, below] :
       {std::pair{"MOPT_SHARED", "/golden/"}, {"MOPT_GOLDEN", "/"}}) {
    const char* root = std::getenv(variable);
    if (root == nullptr) continue;
    const std::string path = root + std::string(below) + relative;
    if (std::filesystem::exists(path)) return path;
  }
  return {};
}

inline std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot open " + path);
  return {std::istreambuf_iterator<char>(in), {}};
}

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

inline Tensors read_safetensors(const std::string& path) {
  const std::string file = read_file(path);
  uint64_t n = 0;
  std::memcpy(&n, file.data(), 8);
  const auto header = nlohmann::json::parse(file.substr(8, n));
  Tensors out;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    const uint64_t begin = entry["data_offsets"][0], end = entry["data_offsets"][1];
    out[name] = {entry["dtype"], entry["shape"].get<std::vector<int64_t>>(),
                 file.substr(8 + n + begin, end - begin)};
  }
  return out;
}

}  // namespace mopt::test
