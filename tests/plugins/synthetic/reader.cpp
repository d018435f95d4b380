#include "reader.hpp"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "mopt/error.hpp"
#include "mopt/numeric/bf16.hpp"

namespace mopt::synthetic {
namespace {

using bench::LlamaShape;
using bench::LlamaTensor;
using nlohmann::json;

constexpr int64_t kTaskElements = 1 << 18;  // per task of a parallel read

[[noreturn]] void damaged(const std::string& path, const std::string& sentence) {
  throw Error(MOPT_DATA_LOSS, path + ": " + sentence + "; write it with make_llama", path);
}

json parse(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw Error(MOPT_IO, path + ": it cannot be read; check its permissions", path);
  json description = json::parse(in, nullptr, false);
  if (!description.is_object()) damaged(path, "expected a JSON object, found something else");
  return description;
}

// Every key is required, and there is no other.
LlamaShape read_shape(const std::string& path) {
  LlamaShape shape;
  int64_t seed = 0;
  const std::pair<const char*, int64_t*> fields[] = {{"hidden", &shape.hidden},
                                                     {"feed_forward", &shape.feed_forward},
                                                     {"layers", &shape.layers},
                                                     {"heads", &shape.heads},
                                                     {"kv_heads", &shape.kv_heads},
                                                     {"vocabulary", &shape.vocabulary},
                                                     {"seed", &seed}};
  const json description = parse(path);
  for (const auto& [key, field] : fields) {
    const auto found = description.find(key);
    if (found == description.end() || !found->is_number_integer() || *found < 0)
      damaged(path, std::string("expected a number from 0 as '") + key + "', found none");
    *field = found->get<int64_t>();
  }
  if (description.size() != std::size(fields)) damaged(path, "expected seven keys, found others");
  shape.seed = static_cast<uint64_t>(seed);
  try {
    check_shape(shape);
  } catch (const std::invalid_argument& e) {
    damaged(path, e.what());
  }
  return shape;
}

}  // namespace

int Reader::probe(std::string_view path, std::span<const uint8_t> head) {
  return path.ends_with(".synthetic") && !head.empty() ? 100 : 0;
}

Reader::Reader(const Host&, const std::string& path)
    : path_(path),
      shape_(read_shape(path)),
      tensors_(bench::llama_tensors(shape_)),
      weights_(shape_.seed),
      config_(bench::llama_config(shape_)) {
  for (const LlamaTensor& t : tensors_)
    seeds_.push_back(weights_.tensor_seed(t.name));
}

const LlamaTensor& Reader::at(size_t index) const {
  if (index < tensors_.size()) return tensors_[index];
  throw Error(MOPT_INVALID_ARGUMENT, "expected a tensor index below " +
                                         std::to_string(tensors_.size()) + ", found " +
                                         std::to_string(index) + "; ask count first");
}

mopt_stored_tensor Reader::tensor(size_t index) const {
  const LlamaTensor& t = at(index);
  mopt_stored_tensor out{};
  out.struct_size = sizeof(out);
  out.dtype = kBf16;
  out.name = str(t.name);
  out.encoding = str("seed");
  out.shape = t.shape.data();
  out.ndim = static_cast<int32_t>(t.shape.size());
  out.nbytes = sizeof(seeds_[index]);
  out.data = &seeds_[index];
  return out;
}

std::string_view Reader::document(std::string_view wanted) const {
  return wanted == "config.json" ? std::string_view(config_) : std::string_view();
}

void Reader::check_request(const LlamaTensor& t, int64_t begin, int64_t end,
                           const DLTensor& out) const {
  const auto refuse = [&](const std::string& sentence) {
    throw Error(MOPT_INVALID_ARGUMENT,
                path_ + ": tensor " + in_quotes(t.name) + ": expected " + sentence, t.name);
  };
  if (begin < 0 || begin > end || end > t.shape[0]) {
    refuse("rows within [0, " + std::to_string(t.shape[0]) + "), found [" + std::to_string(begin) +
           ", " + std::to_string(end) + "); ask for rows that exist");
  }
  if (!same(out.dtype, kBf16) && !same(out.dtype, kF32))
    refuse("bf16 or f32 to read it as, found " + dtype_name(out.dtype) + "; ask for one of them");
  const int64_t n = (end - begin) * (t.shape.size() == 2 ? t.cols() : 1);
  if (out.device.device_type != kDLCPU || elements(out) != n)
    refuse("room for " + std::to_string(n) + " elements in main memory; allocate it");
}

void Reader::read(const Exec& exec, size_t index, int64_t begin, int64_t end, DLTensor& out) const {
  const LlamaTensor& t = at(index);
  check_request(t, begin, end, out);
  if (begin == end) return;
  if (t.shape.size() == 1) {
    // A row of the ABI is an element of a vector; whatever range of them: all, then the part.
    std::vector<uint16_t> all(static_cast<size_t>(t.cols()));
    weights_.fill(t, 0, 1, all.data());
    for (int64_t i = begin; i < end; ++i) {
      const uint16_t bits = all[static_cast<size_t>(i)];
      if (same(out.dtype, kBf16))
        data<uint16_t>(out)[i - begin] = bits;
      else
        data<float>(out)[i - begin] = bf16::decode(bits);
    }
    return;
  }
  const int64_t cols = t.cols();
  exec.for_each(
      end - begin, std::max<int64_t>(1, kTaskElements / cols), [&](int64_t first, int64_t last) {
        if (same(out.dtype, kBf16)) {
          weights_.fill(t, begin + first, begin + last, data<uint16_t>(out) + first * cols);
          return;
        }
        std::vector<uint16_t> narrow(static_cast<size_t>((last - first) * cols));
        weights_.fill(t, begin + first, begin + last, narrow.data());
        std::transform(narrow.begin(), narrow.end(), data<float>(out) + first * cols, bf16::decode);
      });
}

}  // namespace mopt::synthetic
