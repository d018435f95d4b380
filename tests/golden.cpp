#include "tests/golden.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "tests/json.hpp"

namespace mopt::test {

std::string golden(const std::string& relative) {
  for (const auto& [variable, below] :
       {std::pair{"MOPT_SHARED", "/golden/"}, {"MOPT_GOLDEN", "/"}}) {
    const char* root = std::getenv(variable);
    if (root == nullptr) continue;
    const std::string path = root + std::string(below) + relative;
    if (std::filesystem::exists(path)) return path;
  }
  return {};
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot open " + path);
  return {std::istreambuf_iterator<char>(in), {}};
}

Tensors read_safetensors(const std::string& path) {
  const std::string file = read_file(path);
  uint64_t n = 0;
  std::memcpy(&n, file.data(), 8);
  const auto header = parse_json(file.substr(8, n));
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
