#include "layout.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <span>
#include <unordered_set>

#include "dtypes.hpp"
#include "header.hpp"
#include "mopt/error.hpp"

namespace mopt::safetensors {
namespace {

[[noreturn]] void refuse(std::string_view name, const std::string& sentence) {
  throw Error(MOPT_INVALID_ARGUMENT, "tensor " + in_quotes(name) + ": " + sentence,
              std::string(name));
}

std::string json_string(std::string_view text) {
  try {
    return nlohmann::json(text).dump();
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

// Fills in shard and nbytes; returns the number of shards, at least one.
uint32_t assign_shards(const mopt_write_plan& plan, std::vector<Slot>& slots) {
  std::unordered_set<std::string_view> names;
  uint32_t shard = 0;
  uint64_t filled = 0;
  for (const mopt_tensor_decl& decl : std::span(plan.tensors, plan.n_tensors)) {
    const std::string_view name = view(decl.name);
    if (name == "__metadata__" || !names.insert(name).second) {
      refuse(name, "expected a name of its own, found one that is taken; rename the tensor");
    }
    dtype_of(decl);
    const uint64_t nbytes = bytes_of(decl);
    if (plan.shard_bytes != 0 && filled != 0 &&
        nbytes > plan.shard_bytes - std::min(filled, plan.shard_bytes)) {
      ++shard;
      filled = 0;
    }
    filled += nbytes;
    slots.push_back({name, shard, 0, nbytes});
  }
  return shard + 1;
}

std::string numbered(const char* format, size_t i, size_t n) {
  char text[64];
  std::snprintf(text, sizeof text, format, i, n);
  return text;
}

// One member of the header; offsets count from the first byte of data.
std::string header_entry(const mopt_tensor_decl& decl, const Slot& slot) {
  std::string text = json_string(slot.name);
  text += R"(:{"dtype":")";
  text += dtype_of(decl).name;
  text += R"(","shape":[)";
  for (int32_t axis = 0; axis < decl.ndim; ++axis) {
    if (axis != 0) text += ',';
    text += std::to_string(decl.shape[axis]);
  }
  text += R"(],"data_offsets":[)" + std::to_string(slot.offset) + ',';
  return text + std::to_string(slot.offset + slot.nbytes) + "]}";
}

// `members` are indices of the plan; sets their offsets.
Shard make_shard(const mopt_write_plan& plan, std::vector<uint64_t> members,
                 std::vector<Slot>& slots) {
  std::stable_sort(members.begin(), members.end(), [&](uint64_t a, uint64_t b) {
    return plan.tensors[a].dtype.bits > plan.tensors[b].dtype.bits;
  });
  std::string json = R"({"__metadata__":{"format":"pt"})";
  uint64_t at = 0;
  for (const uint64_t i : members) {
    slots[i].offset = at;
    json += ',' + header_entry(plan.tensors[i], slots[i]);
    at += slots[i].nbytes;
  }
  json += '}';
  json.resize((json.size() + 7) / 8 * 8, ' ');
  if (json.size() > kMaxHeader) {
    throw Error(MOPT_INVALID_ARGUMENT, "expected a header of at most 100000000 bytes, found " +
                                           std::to_string(json.size()) + " for " +
                                           std::to_string(members.size()) +
                                           " tensors in one file; choose a smaller shard_gb");
  }
  const uint64_t length = json.size();
  std::string head(8, '\0');
  std::memcpy(head.data(), &length, 8);
  head += json;
  for (const uint64_t i : members)
    slots[i].offset += head.size();
  return {{}, {}, std::move(head), 8 + length + at};
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
  std::string text = "{\n  \"metadata\": {\n    \"total_size\": " + std::to_string(total) +
                     "\n  },\n  \"weight_map\": {";
  const char* separator = "\n    ";
  for (const size_t i : order) {
    const Slot& slot = layout.slots[i];
    text += separator;
    text += json_string(slot.name) + ": \"" + layout.shards[slot.shard].final_name + '"';
    separator = ",\n    ";
  }
  return text + "\n  }\n}\n";
}

}  // namespace

uint64_t Layout::bytes() const {
  uint64_t sum = index.size();
  for (const Shard& shard : shards)
    sum += shard.size;
  return sum;
}

Layout make_layout(const mopt_write_plan& plan) {
  Layout out;
  const uint32_t n = assign_shards(plan, out.slots);
  std::vector<std::vector<uint64_t>> members(n);
  for (uint64_t i = 0; i < out.slots.size(); ++i)
    members[out.slots[i].shard].push_back(i);
  for (uint32_t i = 0; i < n; ++i) {
    Shard shard = make_shard(plan, std::move(members[i]), out.slots);
    shard.final_name =
        n == 1 ? "model.safetensors" : numbered("model-%05zu-of-%05zu.safetensors", i + 1, n);
    shard.partial_name = numbered("weights-%05zu-of-%05zu.partial", i + 1, n);
    out.shards.push_back(std::move(shard));
  }
  if (n > 1) out.index = make_index(out);
  return out;
}

}  // namespace mopt::safetensors
