// The key/value section of a GGUF file. Values stay where they are in the mapped file; the
// container's parser has checked every bound.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace mopt::gguf {

enum class ValueType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64
};
inline constexpr uint32_t kValueTypes = 13;

// Bytes of a value of fixed size; 0 for strings and arrays.
size_t width(ValueType type);

struct Value {
  ValueType type;
  ValueType element;    // of an array; else equal to type
  uint64_t count;       // elements of an array; else 1
  const uint8_t* data;  // the first element; a string is a u64 length and its bytes
};

class Metadata {
 public:
  explicit Metadata(std::string file) : file_(std::move(file)) {}
  // False when the key is taken.
  bool add(std::string_view key, Value value);

  const Value* find(std::string_view key) const;
  // Absent keys are empty; a value of another kind is MOPT_DATA_LOSS that names the key.
  std::optional<int64_t> integer(std::string_view key) const;
  std::optional<double> number(std::string_view key) const;
  std::optional<bool> flag(std::string_view key) const;
  std::optional<std::string_view> text(std::string_view key) const;
  std::vector<int64_t> integers(std::string_view key) const;
  std::vector<std::string_view> texts(std::string_view key) const;
  // Everything as a JSON object; arrays longer than 16 as {"type", "count"}.
  std::string json() const;
  const std::string& file() const { return file_; }
  // A float32 as the decimal number that means it: 1e-05, not 9.999999747378752e-06.
  static double shortest(float value);

 private:
  [[noreturn]] void wrong_kind(std::string_view key, std::string_view expected) const;

  std::string file_;
  std::vector<std::pair<std::string_view, Value>> entries_;  // in the file's order
  std::unordered_map<std::string_view, size_t> index_;
};

}  // namespace mopt::gguf
