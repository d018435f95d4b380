// Writes GGUF files for tests, byte by byte and independent of the reader.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace mopt::test {

template <class T>
std::string raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}
inline std::string gguf_string(const std::string& text) {
  return raw<uint64_t>(text.size()) + text;
}

struct GgufTensor {
  std::string name;
  std::vector<int64_t> ne;  // contiguous dimension first
  uint32_t type;
  std::string bytes;
};

class GgufImage {
 public:
  uint32_t version = 3;
  uint64_t alignment = 32;  // written as a key by `build` only when it is not 32
  std::vector<GgufTensor> tensors;

  void entry(const std::string& key, uint32_t type, const std::string& value) {
    entries_.push_back(gguf_string(key) + raw(type) + value);
  }
  void text(const std::string& key, const std::string& value) { entry(key, 8, gguf_string(value)); }
  void u32(const std::string& key, uint32_t value) { entry(key, 4, raw(value)); }
  void f32(const std::string& key, float value) { entry(key, 6, raw(value)); }
  void flag(const std::string& key, uint8_t value) { entry(key, 7, raw(value)); }
  void texts(const std::string& key, const std::vector<std::string>& values) {
    std::string bytes = raw<uint32_t>(8) + raw<uint64_t>(values.size());
    for (const std::string& value : values)
      bytes += gguf_string(value);
    entry(key, 9, bytes);
  }
  void i32s(const std::string& key, const std::vector<int32_t>& values) {
    std::string bytes = raw<uint32_t>(5) + raw<uint64_t>(values.size());
    for (const int32_t value : values)
      bytes += raw(value);
    entry(key, 9, bytes);
  }

  std::string build() {
    std::vector<std::string> entries = entries_;
    if (alignment != 32) {
      entries.push_back(gguf_string("general.alignment") + raw<uint32_t>(4) +
                        raw(static_cast<uint32_t>(alignment)));
    }
    std::string out = "GGUF" + raw(version) + raw<int64_t>(static_cast<int64_t>(tensors.size())) +
                      raw<int64_t>(static_cast<int64_t>(entries.size()));
    for (const std::string& entry : entries)
      out += entry;
    std::string data;
    for (const GgufTensor& t : tensors) {
      out += gguf_string(t.name) + raw(static_cast<uint32_t>(t.ne.size()));
      for (const int64_t extent : t.ne)
        out += raw(extent);
      out += raw(t.type) + raw<uint64_t>(data.size());
      data += t.bytes;
      pad(data);
    }
    pad(out);
    data_at = out.size();
    return out + data;
  }
  size_t data_at = 0;  // set by build

 private:
  void pad(std::string& bytes) const {
    bytes.resize((bytes.size() + alignment - 1) / alignment * alignment, '\0');
  }
  std::vector<std::string> entries_;
};

}  // namespace mopt::test
