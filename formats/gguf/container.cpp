#include "container.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <unordered_set>

#include "mopt/error.hpp"

namespace mopt::gguf {
namespace {

constexpr uint64_t kMaxName = 63, kMaxDims = 4;
// The smallest encodings, which bound the counts before anything is allocated.
constexpr uint64_t kSmallestEntry = 8 + 4 + 1, kSmallestTensor = 8 + 4 + 8 + 4 + 8;

class Parser {
 public:
  Parser(std::span<const uint8_t> bytes, const std::string& file)
      : bytes_(bytes), file_(file), out_{Metadata(file), {}} {}

  Container run() {
    magic();
    const uint64_t n_tensors = count("tensors", kSmallestTensor);
    const uint64_t n_entries = count("key/value pairs", kSmallestEntry);
    for (uint64_t i = 0; i < n_entries; ++i)
      entry();
    alignment();
    out_.tensors.reserve(n_tensors);
    for (uint64_t i = 0; i < n_tensors; ++i)
      tensor();
    place();
    return std::move(out_);
  }

 private:
  [[noreturn]] void damaged(const std::string& sentence) const {
    throw Error(MOPT_DATA_LOSS, file_ + ": " + sentence + "; " + std::string(kDamaged), file_);
  }
  [[noreturn]] void damaged_tensor(std::string_view name, const std::string& sentence) const {
    throw Error(
        MOPT_DATA_LOSS,
        file_ + ": tensor " + in_quotes(name) + ": " + sentence + "; " + std::string(kDamaged),
        std::string(name));
  }

  uint64_t left() const { return bytes_.size() - at_; }

  const uint8_t* take(uint64_t n, std::string_view what) {
    if (n > left()) {
      damaged("expected " + std::to_string(n) + " bytes of " + std::string(what) + " at offset " +
              std::to_string(at_) + ", found the end of the file after " + std::to_string(left()));
    }
    const uint8_t* from = bytes_.data() + at_;
    at_ += n;
    return from;
  }
  template <class T>
  T number(std::string_view what) {
    T value;
    std::memcpy(&value, take(sizeof value, what), sizeof value);
    return value;
  }
  std::string_view string(std::string_view what) {
    const auto n = number<uint64_t>(what);
    return {reinterpret_cast<const char*>(take(n, what)), n};
  }

  void magic() {
    if (std::memcmp(take(4, "magic"), "GGUF", 4) != 0) {
      damaged("expected 'GGUF' as the first four bytes, found something else");
    }
    const auto version = number<uint32_t>("version");
    if (version == 2 || version == 3) return;
    const bool swapped = (version & 0xFFFF) == 0;
    throw Error(MOPT_UNSUPPORTED,
                file_ + ": expected GGUF version 2 or 3, found " +
                    (swapped ? "a big-endian file; convert it with gguf-convert-endian"
                             : std::to_string(version) + "; convert the model again with a current "
                                                         "converter"),
                file_);
  }

  uint64_t count(std::string_view what, uint64_t smallest) {
    const auto n = number<int64_t>("a count");
    if (n < 0 || static_cast<uint64_t>(n) > left() / smallest) {
      damaged("expected at most " + std::to_string(left() / smallest) + " " + std::string(what) +
              " in a file of this size, found " + std::to_string(n));
    }
    return static_cast<uint64_t>(n);
  }

  ValueType value_type(std::string_view key) {
    const auto type = number<uint32_t>("a value's type");
    if (type >= kValueTypes) {
      damaged("expected a value type below 13 for " + in_quotes(key) + ", found " +
              std::to_string(type));
    }
    return static_cast<ValueType>(type);
  }

  void entry() {
    const std::string_view key = string("a key");
    Value value{value_type(key), {}, 1, nullptr};
    value.element = value.type;
    if (value.type == ValueType::kArray) {
      value.element = value_type(key);
      value.count = number<uint64_t>("an array's length");
      if (value.element == ValueType::kArray) {
        damaged("expected an array of plain values as " + in_quotes(key) + ", found one of arrays");
      }
    }
    value.data = bytes_.data() + at_;
    const uint64_t size = std::max<uint64_t>(width(value.element), 1);
    if (value.element != ValueType::kString) {
      if (value.count > left() / size) {
        damaged("expected at most " + std::to_string(left() / size) + " elements in " +
                in_quotes(key) + ", found " + std::to_string(value.count));
      }
      take(value.count * size, "a value");
      check_flags(key, value);
    } else {
      for (uint64_t i = 0; i < value.count; ++i)
        string("a string value");
    }
    if (!out_.metadata.add(key, value)) {
      damaged("expected every key once, found " + in_quotes(key) + " twice");
    }
  }

  void check_flags(std::string_view key, const Value& value) const {
    if (value.element != ValueType::kBool) return;
    for (uint64_t i = 0; i < value.count; ++i) {
      if (value.data[i] > 1) {
        damaged("expected 0 or 1 as bool " + in_quotes(key) + ", found " +
                std::to_string(value.data[i]));
      }
    }
  }

  void alignment() {
    const auto found = out_.metadata.integer("general.alignment");
    if (!found) return;
    if (*found <= 0 || *found > (int64_t{1} << 30) || (*found & (*found - 1)) != 0) {
      damaged("expected a power of two as 'general.alignment', found " + std::to_string(*found));
    }
    alignment_ = static_cast<uint64_t>(*found);
  }

  void tensor() {
    StoredTensor t{};
    t.name = string("a tensor's name");
    if (t.name.empty() || t.name.size() > kMaxName) {
      damaged_tensor(t.name,
                     "expected a name of 1 to 63 bytes, found " + std::to_string(t.name.size()));
    }
    if (!names_.insert(t.name).second)
      damaged_tensor(t.name, "expected its name once, found it twice");
    const auto n_dims = number<uint32_t>("a number of dimensions");
    if (n_dims < 1 || n_dims > kMaxDims) {
      damaged_tensor(t.name, "expected 1 to 4 dimensions, found " + std::to_string(n_dims));
    }
    for (uint32_t i = 0; i < n_dims; ++i)
      t.shape.push_back(number<int64_t>("a dimension"));
    std::reverse(t.shape.begin(), t.shape.end());
    const auto id = number<uint32_t>("a tensor's type");
    t.type = find_type(id);
    if (t.type == nullptr) {
      throw Error(MOPT_UNSUPPORTED,
                  file_ + ": tensor " + in_quotes(t.name) +
                      ": expected a tensor type that ggml defines, found number " +
                      std::to_string(id) + "; convert the model again to a known type",
                  std::string(t.name));
    }
    t.offset = number<uint64_t>("an offset");
    size(t);
    out_.tensors.push_back(std::move(t));
  }

  // Zero extents count as one in the overflow check, so that no part of the product overflows
  // later.
  void size(StoredTensor& t) const {
    int64_t n = 1, bound = 64;  // bits of the widest presented element
    for (const int64_t extent : t.shape) {
      if (extent < 0 || __builtin_mul_overflow(bound, std::max<int64_t>(extent, 1), &bound)) {
        damaged_tensor(t.name,
                       "expected non-negative dimensions with a product below 2^57, found " +
                           shape_text(t.shape));
      }
      n *= extent;
    }
    if (t.shape.back() % t.type->block_elements != 0) {
      damaged_tensor(t.name, "expected rows of whole blocks of " +
                                 std::to_string(t.type->block_elements) + " elements for " +
                                 std::string(t.type->name) + ", found rows of " +
                                 std::to_string(t.shape.back()));
    }
    uint64_t nbytes = 0;
    if (__builtin_mul_overflow(static_cast<uint64_t>(n / t.type->block_elements),
                               static_cast<uint64_t>(t.type->block_bytes), &nbytes) ||
        nbytes > bytes_.size()) {
      damaged_tensor(t.name,
                     "expected a shape that fits into the file, found " + shape_text(t.shape));
    }
    t.nbytes = nbytes;
  }

  uint64_t align(uint64_t n) const { return (n + alignment_ - 1) / alignment_ * alignment_; }

  // The data are the tensors back to back, each padded to the alignment; the last one need not be.
  void place() {
    const uint64_t start =
        out_.tensors.empty() ? std::min<uint64_t>(align(at_), bytes_.size()) : align(at_);
    uint64_t next = 0, end = start;
    for (StoredTensor& t : out_.tensors) {
      if (t.offset != next) {
        damaged_tensor(t.name, "expected its data at offset " + std::to_string(next) +
                                   " after the tensor before it, found " +
                                   std::to_string(t.offset));
      }
      end = start + t.offset + t.nbytes;
      next = align(t.offset + t.nbytes);
      if (end > bytes_.size()) {
        damaged_tensor(t.name, "expected a file of at least " + std::to_string(end) +
                                   " bytes, found " + std::to_string(bytes_.size()));
      }
      t.offset += start;
    }
    if (bytes_.size() > std::max(end, start + next)) {
      damaged("expected at most " + std::to_string(std::max(end, start + next)) + " bytes, found " +
              std::to_string(bytes_.size()));
    }
  }

  std::span<const uint8_t> bytes_;
  const std::string& file_;
  Container out_;
  uint64_t at_ = 0, alignment_ = 32;
  std::unordered_set<std::string_view> names_;
};

}  // namespace

Container parse_container(std::span<const uint8_t> bytes, const std::string& file) {
  return Parser(bytes, file).run();
}

}  // namespace mopt::gguf
