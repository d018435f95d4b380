#include "layout.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>
#include <span>

#include "dtypes.hpp"
#include "header.hpp"
#include "mopt/error.hpp"
#include "mopt/names.hpp"
#include "plain.hpp"

namespace mopt::safetensors {
namespace {

[[noreturn]] void refuse(std::string_view name, const std::string& sentence) {
  throw Error(MOPT_INVALID_ARGUMENT, "tensor " + in_quotes(name) + ": " + sentence,
              std::string(name));
}

// Where JSON text goes: into a string, or only into its length, so that a prediction follows from
// the same statements as the text.
class Text {
 public:
  explicit Text(std::string& out) : out_(out) {}
  void put(std::string_view text) { out_ += text; }
  void put(uint64_t number) { out_ += std::to_string(number); }

 private:
  std::string& out_;
};

class Length {
 public:
  void put(std::string_view text) { size_ += text.size(); }
  void put(uint64_t number) {
    do {
      ++size_;
    } while ((number /= 10) != 0);
  }
  uint64_t size() const { return size_; }

 private:
  uint64_t size_ = 0;
};

template <class Out>
void put_quoted(Out& out, std::string_view text) {
  if (all_plain(text)) {
    out.put("\"");
    out.put(text);
    return out.put("\"");
  }
  try {
    out.put(std::string_view(nlohmann::json(text).dump()));
  } catch (const nlohmann::json::exception&) {
    refuse(text, "expected a name in UTF-8, found other bytes; rename the tensor");
  }
}

const Dtype& dtype_of(const mopt_tensor_decl& decl) {
  const Dtype* dtype = find_dtype(decl.dtype);
  if (dtype == nullptr || decl.dtype.bits % 8 != 0) {
    throw Error(MOPT_UNSUPPORTED,
                "tensor " + in_quotes(view(decl.name)) +
                    ": expected elements of whole bytes that safetensors has a name for, found " +
                    dtype_name(decl.dtype) + "; store packed codes as u8",
                std::string(view(decl.name)));
  }
  return *dtype;
}

uint64_t bytes_of(const mopt_tensor_decl& decl) {
  int64_t bytes = decl.dtype.bits / 8;
  for (const int64_t extent : std::span(decl.shape, static_cast<size_t>(decl.ndim))) {
    if (extent < 0 || __builtin_mul_overflow(bytes, extent, &bytes)) {
      refuse(view(decl.name), "expected a shape below 2^63 bytes, found " +
                                  shape_text({decl.shape, static_cast<size_t>(decl.ndim)}) +
                                  "; correct the shape");
    }
  }
  return static_cast<uint64_t>(bytes);
}

// One member of the header; `begin` counts from the first byte of data.
template <class Out>
void put_entry(Out& out, const mopt_tensor_decl& decl, uint64_t begin, uint64_t nbytes) {
  put_quoted(out, view(decl.name));
  out.put(R"(:{"dtype":")");
  out.put(dtype_of(decl).name);
  out.put(R"(","shape":[)");
  for (int32_t axis = 0; axis < decl.ndim; ++axis) {
    if (axis != 0) out.put(",");
    out.put(static_cast<uint64_t>(decl.shape[axis]));
  }
  out.put(R"(],"data_offsets":[)");
  out.put(begin);
  out.put(",");
  out.put(begin + nbytes);
  out.put("]}");
}

constexpr std::string_view kHeaderBegin = R"({"__metadata__":{"format":"pt"})", kHeaderEnd = "}";

uint64_t padded(uint64_t header) {
  return (header + 7) / 8 * 8;
}

// A shard: a stretch of the plan.
struct Range {
  uint64_t begin, end;
};

// Calls fn(i, offset) for every tensor of the shard in the order of its data: wider elements first,
// else as in the plan. Returns the bytes of data.
template <class Fn>
uint64_t in_order_of_data(const mopt_write_plan& plan, Range shard, Fn&& fn) {
  std::array<bool, 256> widths{};
  for (uint64_t i = shard.begin; i < shard.end; ++i)
    widths[plan.tensors[i].dtype.bits] = true;
  uint64_t at = 0;
  for (size_t bits = widths.size(); bits-- > 0;) {
    if (!widths[bits]) continue;
    for (uint64_t i = shard.begin; i < shard.end; ++i) {
      if (plan.tensors[i].dtype.bits != bits) continue;
      fn(i, at);
      at += bytes_of(plan.tensors[i]);
    }
  }
  return at;
}

// Writes the header and tells fn(i, offset) where the data of each tensor stands after it. Returns
// the bytes of data.
template <class Out, class Fn>
uint64_t put_header(Out& out, const mopt_write_plan& plan, Range shard, Fn&& fn) {
  out.put(kHeaderBegin);
  const uint64_t bytes = in_order_of_data(plan, shard, [&](uint64_t i, uint64_t at) {
    out.put(",");
    put_entry(out, plan.tensors[i], at, bytes_of(plan.tensors[i]));
    fn(i, at);
  });
  out.put(kHeaderEnd);
  return bytes;
}

// What one shard holds so far: its data, and a bound for its header, in which every offset has as
// many digits as the end of the data.
class Filling {
 public:
  // A tensor with `entry` bytes in the header besides the digits of its two offsets.
  void add(uint64_t nbytes, uint64_t entry) {
    ++tensors_;
    data_ += nbytes;
    entries_ += entry + 1;  // a comma
  }
  uint64_t data() const { return data_; }
  uint64_t header_bound() const {
    Length offset;
    offset.put(data_);
    return padded(kHeaderBegin.size() + entries_ + 2 * tensors_ * offset.size() +
                  kHeaderEnd.size());
  }

 private:
  uint64_t tensors_ = 0, data_ = 0, entries_ = 0;
};

void check_name(NameTable& names, std::string_view name) {
  if (name != "__metadata__" && !names.add(name)) return;
  refuse(name, "expected a name of its own, found one that is taken; rename the tensor");
}

uint64_t entry_without_offsets(const mopt_tensor_decl& decl) {
  Length entry;
  put_entry(entry, decl, 0, 0);
  return entry.size() - 2;
}

// At least one shard.
std::vector<Range> assign_shards(const mopt_write_plan& plan, uint64_t max_header) {
  std::vector<Range> shards{{0, 0}};
  NameTable names(plan.n_tensors);
  Filling filling;
  for (uint64_t i = 0; i < plan.n_tensors; ++i) {
    const mopt_tensor_decl& decl = plan.tensors[i];
    if (i + NameTable::kAhead < plan.n_tensors)
      names.prefetch(view(plan.tensors[i + NameTable::kAhead].name));
    check_name(names, view(decl.name));
    const uint64_t nbytes = bytes_of(decl), entry = entry_without_offsets(decl);
    Filling with = filling;
    with.add(nbytes, entry);
    Range& shard = shards.back();
    const bool much_data =
        plan.shard_bytes != 0 && filling.data() != 0 && with.data() > plan.shard_bytes;
    if (shard.end > shard.begin && (much_data || with.header_bound() > max_header)) {
      with = {};
      with.add(nbytes, entry);
      shards.push_back({shard.end, shard.end});
    }
    ++shards.back().end;
    filling = with;
  }
  return shards;
}

// A header too long is one of a single tensor: more would have been divided.
uint64_t checked_header(uint64_t header, std::string_view name, uint64_t max_header) {
  if (header <= max_header) return header;
  refuse(name, "expected a header of at most " + std::to_string(max_header) + " bytes, found " +
                   std::to_string(header) + " for this tensor alone; give it a shorter name");
}

std::string numbered(const char* format, size_t i, size_t n) {
  char text[64];
  std::snprintf(text, sizeof text, format, i, n);
  return text;
}

std::string final_name(size_t shard, size_t n) {
  return n == 1 ? "model.safetensors" : numbered("model-%05zu-of-%05zu.safetensors", shard + 1, n);
}

std::string_view first_name(const mopt_write_plan& plan, Range shard) {
  return shard.begin == shard.end ? std::string_view() : view(plan.tensors[shard.begin].name);
}

// Sets the slots' offsets and appends the shard.
void add_shard(Layout& out, const mopt_write_plan& plan, Range range, uint64_t max_header) {
  const auto number = static_cast<uint32_t>(out.shards.size());
  std::string head(8, '\0');
  Text text(head);
  const uint64_t data = put_header(text, plan, range, [&](uint64_t i, uint64_t at) {
    out.slots[i] = {view(plan.tensors[i].name), number, at, bytes_of(plan.tensors[i])};
  });
  const uint64_t length =
      checked_header(padded(head.size() - 8), first_name(plan, range), max_header);
  head.resize(8 + length, ' ');
  std::memcpy(head.data(), &length, 8);
  for (uint64_t i = range.begin; i < range.end; ++i)
    out.slots[i].offset += head.size();
  out.shards.push_back({{}, {}, std::move(head), 8 + length + data});
}

struct IndexRow {
  std::string_view tensor, file;
};

// The index around its rows, which fn(put_row) passes on.
template <class Out, class Fn>
void put_index(Out& out, uint64_t total_size, Fn&& fn) {
  out.put("{\n  \"metadata\": {\n    \"total_size\": ");
  out.put(total_size);
  out.put("\n  },\n  \"weight_map\": {");
  std::string_view separator = "\n    ";
  fn([&](IndexRow row) {
    out.put(separator);
    put_quoted(out, row.tensor);
    out.put(": \"");
    out.put(row.file);
    out.put("\"");
    separator = ",\n    ";
  });
  out.put("\n  }\n}\n");
}

// The keys sorted by name, as Hugging Face writes them.
std::string make_index(const Layout& layout) {
  std::vector<size_t> order(layout.slots.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return layout.slots[a].name < layout.slots[b].name; });
  uint64_t total = 0;
  for (const Slot& slot : layout.slots)
    total += slot.nbytes;
  std::string text;
  Text out(text);
  put_index(out, total, [&](const auto& row) {
    for (const size_t i : order)
      row(IndexRow{layout.slots[i].name, layout.shards[layout.slots[i].shard].final_name});
  });
  return text;
}

// Its length does not depend on the order of its rows.
uint64_t index_bytes(const mopt_write_plan& plan, const std::vector<Range>& shards,
                     uint64_t total_size) {
  Length out;
  put_index(out, total_size, [&](const auto& row) {
    for (size_t i = 0; i < shards.size(); ++i) {
      const std::string file = final_name(i, shards.size());
      for (uint64_t k = shards[i].begin; k < shards[i].end; ++k)
        row(IndexRow{view(plan.tensors[k].name), file});
    }
  });
  return out.size();
}

}  // namespace

uint64_t Layout::bytes() const {
  uint64_t sum = index.size();
  for (const Shard& shard : shards)
    sum += shard.size;
  return sum;
}

Layout make_layout(const mopt_write_plan& plan, uint64_t max_header) {
  Layout out;
  const std::vector<Range> ranges = assign_shards(plan, max_header);
  out.slots.resize(plan.n_tensors);
  for (const Range& range : ranges) {
    add_shard(out, plan, range, max_header);
    const size_t i = out.shards.size();
    out.shards.back().final_name = final_name(i - 1, ranges.size());
    out.shards.back().partial_name = numbered("weights-%05zu-of-%05zu.partial", i, ranges.size());
  }
  if (ranges.size() > 1) out.index = make_index(out);
  return out;
}

uint64_t predict_bytes(const mopt_write_plan& plan, uint64_t max_header) {
  const std::vector<Range> ranges = assign_shards(plan, max_header);
  uint64_t data = 0, heads = 0;
  for (const Range& range : ranges) {
    Length header;
    data += put_header(header, plan, range, [](uint64_t, uint64_t) {});
    heads += 8 + checked_header(padded(header.size()), first_name(plan, range), max_header);
  }
  return heads + data + (ranges.size() > 1 ? index_bytes(plan, ranges, data) : 0);
}

}  // namespace mopt::safetensors
