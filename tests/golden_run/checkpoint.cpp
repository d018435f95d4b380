#include "tests/golden_run/checkpoint.hpp"

#include <bit>
#include <cmath>
#include <stdexcept>

namespace mopt::test {
namespace {

namespace fs = std::filesystem;

template <class T>
StoredTensor stored(std::string dtype, std::vector<int64_t> shape, const std::vector<T>& values) {
  const auto* data = reinterpret_cast<const char*>(values.data());
  return {std::move(dtype), std::move(shape), std::string(data, values.size() * sizeof(T))};
}

}  // namespace

float from_bf16(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

uint16_t to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

std::vector<float> floats(const StoredTensor& tensor) {
  if (tensor.dtype == "F32") return tensor.as<float>();
  if (tensor.dtype != "BF16") throw std::runtime_error("no float type: " + tensor.dtype);
  std::vector<float> out;
  for (const uint16_t bits : tensor.as<uint16_t>())
    out.push_back(from_bf16(bits));
  return out;
}

StoredTensor f32_tensor(std::vector<int64_t> shape, const std::vector<float>& values) {
  return stored("F32", std::move(shape), values);
}

StoredTensor bf16_tensor(std::vector<int64_t> shape, const std::vector<float>& values) {
  std::vector<uint16_t> bits;
  for (const float x : values)
    bits.push_back(to_bf16(x));
  return stored("BF16", std::move(shape), bits);
}

StoredTensor i64_tensor(std::vector<int64_t> shape, const std::vector<int64_t>& values) {
  return stored("I64", std::move(shape), values);
}

void write_safetensors(const fs::path& path, const Tensors& tensors) {
  std::vector<FileTensor> all;
  for (const auto& [name, tensor] : tensors)
    all.push_back({name, tensor.dtype, tensor.shape, tensor.bytes});
  write_safetensors(path, all);
}

Tensors read_checkpoint(const fs::path& directory) {
  Tensors all;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("model") && name.ends_with(".safetensors")) {
      all.merge(read_safetensors(entry.path().string()));
    }
  }
  return all;
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size() || b.empty()) return NAN;
  double worst = 0, largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double error = std::fabs(static_cast<double>(a[i]) - b[i]);
    if (!(error <= worst)) worst = error;  // takes a NaN and keeps it
    if (std::isnan(worst)) return NAN;
    largest = std::max(largest, std::fabs(static_cast<double>(b[i])));
  }
  return worst / largest;
}

}  // namespace mopt::test
