#include "header.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <unordered_set>

#include "mopt/error.hpp"
#include "mopt/names.hpp"
#include "scanner.hpp"

namespace mopt::safetensors {
namespace {

class Parser {
 public:
  Parser(std::span<const uint8_t> bytes, std::string_view file)
      : bytes_(bytes),
        file_(file),
        length_(header_length()),
        json_({reinterpret_cast<const char*>(bytes.data()) + 8, length_}, file) {
    header_.names = std::make_unique_for_overwrite<char[]>(length_);
  }

  Header run() {
    if (json_.position() != 0 || bytes_[8] != '{') json_.fail("'{' as the first byte");
    json_.expect('{', "'{'");
    if (!json_.accept('}')) {
      do {
        member();
      } while (json_.accept(','));
      json_.expect('}', "',' or '}' after a tensor");
    }
    json_.end();
    check_order();
    check_unique();
    return std::move(header_);
  }

 private:
  [[noreturn]] void damaged(const std::string& sentence, std::string_view tensor = {}) const {
    const std::string about =
        std::string(file_) + (tensor.empty() ? ": " : ": tensor " + in_quotes(tensor) + ": ");
    throw Error(MOPT_DATA_LOSS, about + sentence + "; " + std::string(kDamaged),
                std::string(tensor.empty() ? file_ : tensor));
  }

  uint64_t header_length() const {
    if (bytes_.size() < 8) {
      damaged("expected at least 8 bytes, found " + std::to_string(bytes_.size()));
    }
    uint64_t n = 0;
    std::memcpy(&n, bytes_.data(), 8);
    if (std::memcmp(bytes_.data(), "version ", 8) == 0) {
      damaged("expected a header, found a pointer of Git LFS in place of the weights");
    }
    if (n > kMaxHeader) {
      damaged("expected a header of at most 100000000 bytes, found a length of " +
              std::to_string(n));
    }
    if (n < 2 || n > bytes_.size() - 8) {
      damaged("expected a header of 2 to " + std::to_string(bytes_.size() - 8) +
              " bytes, found a length of " + std::to_string(n));
    }
    return n;
  }

  void member() {
    const std::string_view name = keep(json_.string("a tensor's name"));
    json_.expect(':', "':' after a name");
    if (name == "__metadata__") {
      metadata();
    } else {
      tensor(name);
    }
  }

  // All names together are shorter than the header.
  std::string_view keep(std::string_view name) {
    char* to = header_.names.get() + names_size_;
    std::copy(name.begin(), name.end(), to);
    names_size_ += name.size();
    return {to, name.size()};
  }

  void metadata() {
    if (has_metadata_) damaged("expected one '__metadata__', found a second");
    has_metadata_ = true;
    std::unordered_set<std::string> keys;
    json_.peek();
    const size_t begin = json_.position();
    json_.expect('{', "an object as '__metadata__'");
    if (!json_.accept('}')) {
      do {
        const auto [key, fresh] = keys.emplace(json_.string("a key of '__metadata__'"));
        if (!fresh)
          damaged("expected every key of '__metadata__' once, found " + in_quotes(*key) + " twice");
        json_.expect(':', "':' after a key");
        json_.string("a string as the value of every key of '__metadata__'");
      } while (json_.accept(','));
      json_.expect('}', "',' or '}' in '__metadata__'");
    }
    header_.metadata = json_.slice(begin);
  }

  void tensor(std::string_view name) {
    Entry entry;
    entry.name = name;
    bool shape = false, offsets = false;
    json_.about(entry.name);
    json_.expect('{', "an object that describes the tensor");
    do {
      const std::string_view key = json_.string("'dtype', 'shape' or 'data_offsets'");
      const bool is_dtype = key == "dtype" && entry.dtype == nullptr;
      const bool is_shape = key == "shape" && !shape;
      const bool is_offsets = key == "data_offsets" && !offsets;
      if (!is_dtype && !is_shape && !is_offsets) {
        damaged("expected 'dtype', 'shape' and 'data_offsets' once each, found " + in_quotes(key),
                entry.name);
      }
      json_.expect(':', "':' after a key");
      if (is_dtype) read_dtype(entry);
      if (is_shape) read_shape(entry);
      if (is_offsets) read_offsets(entry);
      shape |= is_shape;
      offsets |= is_offsets;
    } while (json_.accept(','));
    json_.expect('}', "',' or '}' in the tensor");
    json_.about({});
    if (entry.dtype == nullptr || !shape || !offsets) {
      damaged("expected 'dtype', 'shape' and 'data_offsets', found only some of them", entry.name);
    }
    check_size(entry);
    header_.tensors.push_back(entry);
  }

  void read_dtype(Entry& entry) {
    const std::string_view found = json_.string("a type's name");
    entry.dtype = find_dtype(found);
    if (entry.dtype != nullptr) return;
    throw Error(MOPT_UNSUPPORTED,
                std::string(file_) + ": tensor " + in_quotes(entry.name) +
                    ": expected an element type of safetensors such as BF16, F32 or U8, found " +
                    in_quotes(found) + "; store the tensor in another type",
                std::string(entry.name));
  }

  void read_shape(Entry& entry) {
    entry.first_extent = header_.extents.size();
    json_.expect('[', "an array as shape");
    if (json_.accept(']')) return;
    do {
      const uint64_t extent = json_.integer("a non-negative integer in a shape");
      if (extent > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        damaged("expected extents below 2^63, found " + std::to_string(extent), entry.name);
      }
      header_.extents.push_back(static_cast<int64_t>(extent));
      ++entry.ndim;
    } while (json_.accept(','));
    json_.expect(']', "',' or ']' in a shape");
  }

  void read_offsets(Entry& entry) {
    json_.expect('[', "an array of two offsets");
    entry.begin = json_.integer("a non-negative integer as offset");
    json_.expect(',', "two offsets");
    entry.end = json_.integer("a non-negative integer as offset");
    json_.expect(']', "exactly two offsets");
    const uint64_t buffer = bytes_.size() - 8 - length_;
    if (entry.begin > entry.end || entry.end > buffer) {
      damaged("expected data_offsets within the " + std::to_string(buffer) +
                  " bytes of data, found [" + std::to_string(entry.begin) + ", " +
                  std::to_string(entry.end) + "]",
              entry.name);
    }
  }

  // Shape times element width is the distance of the offsets. Zero extents count as one in the
  // overflow check, so that no part of a shape's product overflows later.
  void check_size(Entry& entry) {
    int64_t bits = entry.dtype->type.bits, bound = bits;
    for (const int64_t extent : header_.shape(entry)) {
      if (__builtin_mul_overflow(bound, std::max<int64_t>(extent, 1), &bound)) {
        damaged(
            "expected a shape with fewer than 2^63 bits, found " + shape_text(header_.shape(entry)),
            entry.name);
      }
      bits *= extent;
    }
    if (bits % 8 != 0 || static_cast<uint64_t>(bits) / 8 != entry.end - entry.begin) {
      damaged("expected " + std::to_string(bits) + " bits for " + std::string(entry.dtype->name) +
                  " " + shape_text(header_.shape(entry)) + ", found " +
                  std::to_string(entry.end - entry.begin) + " bytes",
              entry.name);
    }
  }

  void check_order() {
    std::vector<Entry>& tensors = header_.tensors;
    const auto before = [](const Entry& a, const Entry& b) {
      return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
    };
    if (!std::is_sorted(tensors.begin(), tensors.end(), before)) {
      std::stable_sort(tensors.begin(), tensors.end(), before);
    }
    uint64_t at = 0;
    for (Entry& entry : tensors) {
      if (entry.begin != at) {
        damaged(std::string("expected its data at offset ") + std::to_string(at) +
                    " right after the tensor before it, found " +
                    (entry.begin > at ? "a gap up to " : "an overlap from ") +
                    std::to_string(entry.begin),
                entry.name);
      }
      at = entry.end;
      entry.begin += 8 + length_;
      entry.end += 8 + length_;
    }
    if (at + 8 + length_ != bytes_.size()) {
      damaged("expected " + std::to_string(at + 8 + length_) + " bytes, found " +
              std::to_string(bytes_.size()));
    }
  }

  void check_unique() const {
    NameTable names(header_.tensors.size());
    for (const Entry& entry : header_.tensors) {
      if (names.add(entry.name)) damaged("expected every name once, found it twice", entry.name);
    }
  }

  std::span<const uint8_t> bytes_;
  std::string_view file_;
  uint64_t length_;
  Scanner json_;
  Header header_;
  size_t names_size_ = 0;
  bool has_metadata_ = false;
};

}  // namespace

Header parse_header(std::span<const uint8_t> bytes, std::string_view file) {
  return Parser(bytes, file).run();
}

}  // namespace mopt::safetensors
