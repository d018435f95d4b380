#include "reader.hpp"

#include <algorithm>
#include <cstdio>
#include <unordered_set>

#include "decode.hpp"
#include "mopt/error.hpp"
#include "tokenizer.hpp"

namespace mopt::gguf {
namespace {

constexpr int64_t kTaskElements = 1 << 18;  // per task of a parallel read
constexpr std::string_view kRopeFactors = "rope_freqs.weight";

[[noreturn]] void damaged(const std::string& file, const std::string& sentence) {
  throw Error(MOPT_DATA_LOSS, file + ": " + sentence, file);
}

// "name-00001-of-00003.gguf" for any number; nothing when the path does not end like that.
std::optional<std::string> split_path(const std::string& path, int64_t number, int64_t count) {
  constexpr size_t kTail = 20;  // "-00001-of-00003.gguf"
  char tail[64];
  std::snprintf(tail, sizeof tail, "-of-%05lld.gguf", static_cast<long long>(count));
  if (path.size() < kTail || !path.ends_with(tail)) return {};
  std::snprintf(tail, sizeof tail, "-%05lld-of-%05lld.gguf", static_cast<long long>(number),
                static_cast<long long>(count));
  return path.substr(0, path.size() - kTail) + tail;
}

}  // namespace

int Reader::probe(std::string_view path, std::span<const uint8_t> head) {
  if (head.size() >= 4) return std::memcmp(head.data(), "GGUF", 4) == 0 ? 100 : 0;
  return path.ends_with(".gguf") ? 50 : 0;
}

Reader::Reader(const Host& host, const std::string& path) : host_(host) {
  open_split(path);
  model_ = std::make_unique<Model>(files_[0].container.metadata);
  gather_facts();
  present_all();
  metadata_ = files_[0].container.metadata.json();
}

void Reader::open(const std::string& path) {
  MappedFile file(path, {"a GGUF file", "check the path", 24});
  Container container = parse_container(file.bytes(), path);
  files_.push_back({path, std::move(file), std::move(container)});
}

// Opens `path` and, when it is the first of a split model, the others.
void Reader::open_split(const std::string& path) {
  open(path);
  const int64_t count = files_[0].container.metadata.integer("split.count").value_or(1);
  const int64_t number = files_[0].container.metadata.integer("split.no").value_or(0);
  if (count <= 1) return;
  if (number != 0 || count > 99999 || split_path(path, 1, count) != path) {
    damaged(path, "expected the first of " + std::to_string(count) +
                      " files, named like model-00001-of-00003.gguf, found file " +
                      std::to_string(number + 1) + "; name the first one");
  }
  size_t n_tensors = files_[0].container.tensors.size();
  for (int64_t i = 1; i < count; ++i) {
    open(*split_path(path, i + 1, count));
    const File& file = files_.back();
    if (file.container.metadata.integer("split.no") != i ||
        file.container.metadata.integer("split.count") != count) {
      damaged(file.path, "expected file " + std::to_string(i + 1) + " of " + std::to_string(count) +
                             " by its own 'split.no' and 'split.count', found another; fetch the "
                             "model again");
    }
    n_tensors += file.container.tensors.size();
  }
  const auto expected = files_[0].container.metadata.integer("split.tensors.count");
  if (expected && static_cast<uint64_t>(*expected) != n_tensors) {
    damaged(path, "expected " + std::to_string(*expected) + " tensors in all files, found " +
                      std::to_string(n_tensors) + "; fetch the model again");
  }
}

void Reader::gather_facts() {
  std::unordered_set<std::string_view> names;
  bool half = false, brain = false;
  for (const File& file : files_) {
    for (const StoredTensor& t : file.container.tensors) {
      if (!names.insert(t.name).second) {
        damaged(file.path, "expected tensor " + in_quotes(t.name) +
                               " in one file, found it in two; fetch the model again");
      }
      brain = brain || t.type->quantized() || same(t.type->plain, kBf16);
      half = half || same(t.type->plain, kF16);
      if (t.name == "token_embd.weight") facts_.vocabulary = t.shape[0];
      facts_.has_output |= t.name == "output.weight";
      facts_.has_qkv_bias |= t.name == "blk.0.attn_q.bias";
      facts_.has_o_bias |= t.name == "blk.0.attn_output.bias";
      facts_.has_mlp_bias |= t.name == "blk.0.ffn_up.bias";
      if (t.name == kRopeFactors && same(t.type->plain, kF32)) {
        facts_.rope_factors.resize(t.nbytes / 4);
        std::memcpy(facts_.rope_factors.data(), &file.mapped.bytes()[t.offset], t.nbytes);
      }
    }
  }
  facts_.dtype = brain ? kBf16 : half ? kF16 : kF32;
  const Metadata& metadata = files_[0].container.metadata;
  const std::string prefix = model_->arch() + ".rope.";
  rope_is_config_ =
      model_->translated() &&
      fit_llama3(facts_.rope_factors, metadata.number(prefix + "freq_base").value_or(kDefaultTheta),
                 metadata.integer(prefix + "scaling.original_context_length"))
          .has_value();
}

void Reader::present_all() {
  std::unordered_set<std::string> names;
  for (uint32_t i = 0; i < files_.size(); ++i) {
    for (const StoredTensor& t : files_[i].container.tensors) {
      if (t.name == kRopeFactors && rope_is_config_) continue;
      Presented out{i, &t, model_->present(t), t.type->plain};
      if (t.type->quantized() || (t.type->is_float() && t.type->plain.bits <= 32))
        out.dtype = facts_.dtype;
      if (!names.insert(out.as.name).second) {
        damaged(files_[i].path, "expected one tensor that is called " + in_quotes(out.as.name) +
                                    " after translation, found two; use the original checkpoint");
      }
      tensors_.push_back(std::move(out));
    }
  }
}

const Reader::Presented& Reader::presented(size_t index) const {
  if (index < tensors_.size()) return tensors_[index];
  throw Error(MOPT_INVALID_ARGUMENT, "expected a tensor index below " +
                                         std::to_string(tensors_.size()) + ", found " +
                                         std::to_string(index) + "; ask count first");
}

const uint8_t* Reader::bytes(const Presented& tensor) const {
  return files_[tensor.file].mapped.bytes().data() + tensor.stored->offset;
}

mopt_stored_tensor Reader::tensor(size_t index) const {
  const Presented& t = presented(index);
  mopt_stored_tensor out{};
  out.struct_size = sizeof(out);
  out.dtype = t.dtype;
  out.name = str(t.as.name);
  out.encoding = str(t.stored->type->name);
  out.shape = t.stored->shape.data();
  out.ndim = static_cast<int32_t>(t.stored->shape.size());
  out.file = t.file;
  out.offset = t.stored->offset;
  out.nbytes = t.stored->nbytes;
  out.data = bytes(t);
  const bool aligned = reinterpret_cast<uintptr_t>(out.data) % (t.dtype.bits / 8) == 0;
  out.plain = aligned && t.as.order == RowOrder::kStored && same(t.stored->type->plain, t.dtype);
  return out;
}

void Reader::check_request(const Presented& t, int64_t begin, int64_t end,
                           const DLTensor& out) const {
  const auto refuse = [&](mopt_code code, const std::string& sentence) {
    throw Error(code, files_[t.file].path + ": tensor " + in_quotes(t.as.name) + ": " + sentence,
                t.as.name);
  };
  const Type& type = *t.stored->type;
  if (type.quantized() && type.decode == nullptr) {
    refuse(MOPT_UNSUPPORTED,
           "expected floats, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K, IQ4_NL or MXFP4, found " +
               std::string(type.name) + "; convert the model to one of these types");
  }
  const std::vector<int64_t>& shape = t.stored->shape;
  if (begin < 0 || begin > end || end > shape[0]) {
    refuse(MOPT_INVALID_ARGUMENT, "expected rows within [0, " + std::to_string(shape[0]) +
                                      "), found [" + std::to_string(begin) + ", " +
                                      std::to_string(end) + "); ask for rows that exist");
  }
  const bool as_f32 = same(out.dtype, kF32) && type.decode != nullptr;
  if (!same(out.dtype, t.dtype) && !as_f32) {
    refuse(MOPT_INVALID_ARGUMENT, "expected " + dtype_name(t.dtype) +
                                      " or, for floats, f32 as the type to read, found " +
                                      dtype_name(out.dtype) + "; read the presented type");
  }
  const int64_t n = (end - begin) * elements(std::span(shape).subspan(1));
  if (out.device.device_type != kDLCPU || elements(out) != n) {
    refuse(MOPT_INVALID_ARGUMENT,
           "expected room for " + std::to_string(n) + " elements in main memory, found " +
               std::to_string(elements(out)) + "; allocate the rows that are read");
  }
}

void Reader::read(const Exec& exec, size_t index, int64_t begin, int64_t end, DLTensor& out) const {
  const Presented& t = presented(index);
  check_request(t, begin, end, out);
  const Type& type = *t.stored->type;
  const std::vector<int64_t>& shape = t.stored->shape;
  const int64_t row = elements(std::span(shape).subspan(1));
  const int64_t width = out.dtype.bits / 8;
  auto* to = data<std::byte>(out);
  if (row % type.block_elements != 0) {
    // A vector whose blocks span rows: all of it, then the part.
    std::vector<std::byte> all(static_cast<size_t>(shape[0] * row * width));
    decode(type, bytes(t), shape[0] * row, out.dtype, all.data());
    std::memcpy(to, all.data() + begin * row * width,
                static_cast<size_t>((end - begin) * row * width));
    return;
  }
  const int64_t row_bytes = row / type.block_elements * type.block_bytes;
  exec.for_each(end - begin, std::max<int64_t>(1, kTaskElements / std::max<int64_t>(row, 1)),
                [&](int64_t first, int64_t last) {
                  if (t.as.order == RowOrder::kStored) {
                    decode(type, bytes(t) + (begin + first) * row_bytes, (last - first) * row,
                           out.dtype, to + first * row * width);
                    return;
                  }
                  for (int64_t i = first; i < last; ++i) {
                    const int64_t stored = stored_row(begin + i, shape[0], t.as.heads);
                    decode(type, bytes(t) + stored * row_bytes, row, out.dtype,
                           to + i * row * width);
                  }
                });
}

std::string Reader::build(std::string_view name) const {
  const Metadata& metadata = files_[0].container.metadata;
  if (name == "config.json") return config_json(metadata, *model_, facts_);
  if (name == "generation_config.json") return generation_config_json(metadata);
  if (name == "tokenizer.json") return tokenizer_json(metadata);
  if (name == "tokenizer_config.json") return tokenizer_config_json(metadata, model_->arch());
  if (name == "chat_template.jinja") {
    return std::string(metadata.text("tokenizer.chat_template").value_or(""));
  }
  return {};
}

std::string_view Reader::document(std::string_view name) const {
  return documents_.get(name, [this](std::string_view wanted) {
    try {
      return build(wanted);
    } catch (const Error& e) {
      host_.warn(Reader::name, std::string(wanted) + " is missing: " + e.what());
      return std::string();
    }
  });
}

void Reader::prefetch(size_t index) const {
  if (index >= tensors_.size()) return;
  const Presented& t = tensors_[index];
  files_[t.file].mapped.prefetch(t.stored->offset, t.stored->offset + t.stored->nbytes);
}
void Reader::release(size_t index) const {
  if (index >= tensors_.size()) return;
  const Presented& t = tensors_[index];
  files_[t.file].mapped.release(t.stored->offset, t.stored->offset + t.stored->nbytes);
}

}  // namespace mopt::gguf
