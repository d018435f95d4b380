#include "reader.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "mopt/error.hpp"
#include "mopt/names.hpp"
#include "mopt/numeric/bf16.hpp"
#include "mopt/numeric/fp16.hpp"

namespace mopt::safetensors {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kCopyBytes = 1 << 20;  // per task of a parallel read

// n elements of Stored at `from`, which need not be aligned.
template <class Stored, class Convert>
void widen(const std::byte* from, float* to, int64_t n, Convert convert) {
  for (int64_t i = 0; i < n; ++i) {
    Stored value;
    std::memcpy(&value, from + i * static_cast<int64_t>(sizeof(Stored)), sizeof(Stored));
    to[i] = convert(value);
  }
}

void to_f32(DLDataType type, const std::byte* from, float* to, int64_t n) {
  if (same(type, kBf16)) {
    widen<uint16_t>(from, to, n, bf16::decode);
  } else if (same(type, kF16)) {
    widen<uint16_t>(from, to, n, fp16::decode);
  } else {
    widen<double>(from, to, n, [](double x) { return static_cast<float>(x); });
  }
}

}  // namespace

int Reader::probe(std::string_view path, std::span<const uint8_t> head) {
  return safetensors::probe(fs::path(path),
                            {reinterpret_cast<const char*>(head.data()), head.size()});
}

Reader::Reader(const Host& host, const std::string& path) {
  const Sources sources = find_sources(path);
  directory_ = sources.directory;
  for (const std::string& file : sources.files)
    open(file);
  if (sources.index) check_index(host, *sources.index);
  merge_metadata();
}

void Reader::open(const std::string& path) {
  MappedFile mapped(path, {"a file of this checkpoint", "fetch the checkpoint again", 8});
  Header header = parse_header(mapped.bytes(), path);
  const auto file = static_cast<uint32_t>(files_.size());
  for (uint32_t i = 0; i < header.tensors.size(); ++i)
    tensors_.push_back({file, i});
  // The text of the header is not needed any more.
  mapped.release(0, mapped.bytes().size());
  files_.push_back({path, std::move(mapped), std::move(header)});
}

// The index and the files agree: each tensor is in one file, the one that the index names.
void Reader::check_index(const Host& host, const Index& index) const {
  NameTable names(tensors_.size());  // numbered like tensors_
  std::vector<bool> indexed(tensors_.size());
  const std::string path = (fs::path(directory_) / kIndexName).string();
  const auto damaged = [&path](std::string_view tensor, const std::string& sentence) {
    throw Error(
        MOPT_DATA_LOSS,
        path + ": tensor " + in_quotes(tensor) + ": " + sentence + "; fetch the checkpoint again",
        path);
  };
  constexpr size_t kAhead = NameTable::kAhead;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (i + kAhead < tensors_.size()) names.prefetch(entry(i + kAhead).name);
    if (const auto other = names.add(entry(i).name)) {
      damaged(entry(i).name, "expected in one file, found in " +
                                 files_[tensors_[*other].file].path + " and " +
                                 files_[tensors_[i].file].path);
    }
  }
  for (size_t i = 0; i < index.rows.size(); ++i) {
    const Index::Row& row = index.rows[i];
    if (i + kAhead < index.rows.size()) names.prefetch(index.rows[i + kAhead].tensor);
    const auto at = names.find(row.tensor);
    if (!at || tensors_[*at].file != row.file) {
      damaged(row.tensor, "the index " + std::string(kIndexName) + " expects it in " +
                              files_[row.file].path + ", found " +
                              (at ? "in " + files_[tensors_[*at].file].path : "nowhere"));
    }
    if (indexed[*at]) {
      damaged(row.tensor, "expected once in " + std::string(kIndexName) + ", found twice");
    }
    indexed[*at] = true;
  }
  if (tensors_.size() > index.rows.size()) {
    host.warn(name, std::to_string(tensors_.size() - index.rows.size()) +
                        " tensors stand in the files and not in " + std::string(kIndexName) +
                        "; they are read like the others");
  }
}

// One object from all files; the first file that has a key wins.
void Reader::merge_metadata() {
  if (files_.size() == 1) {
    metadata_ = files_[0].header.metadata;
    return;
  }
  nlohmann::ordered_json all = nlohmann::ordered_json::object();
  for (const File& file : files_) {
    const auto one = nlohmann::ordered_json::parse(file.header.metadata);
    for (const auto& [key, value] : one.items()) {
      if (!all.contains(key)) all[key] = value;
    }
  }
  metadata_ = all.dump();
}

const Entry& Reader::entry(size_t index) const {
  if (index >= tensors_.size()) {
    throw Error(MOPT_INVALID_ARGUMENT, "expected a tensor index below " +
                                           std::to_string(tensors_.size()) + ", found " +
                                           std::to_string(index) + "; ask count first");
  }
  const Ref ref = tensors_[index];
  return files_[ref.file].header.tensors[ref.entry];
}

const MappedFile& Reader::mapped(size_t index) const {
  return files_[tensors_[index].file].mapped;
}

const std::byte* Reader::bytes(size_t index) const {
  return reinterpret_cast<const std::byte*>(mapped(index).bytes().data()) + entry(index).begin;
}

mopt_stored_tensor Reader::tensor(size_t index) const {
  const Entry& e = entry(index);
  const std::span<const int64_t> extents = files_[tensors_[index].file].header.shape(e);
  const std::byte* data = bytes(index);
  mopt_stored_tensor out{};
  out.struct_size = sizeof(out);
  out.dtype = e.dtype->type;
  out.name = str(e.name);
  out.encoding = str(e.dtype->name);
  out.shape = extents.data();
  out.ndim = static_cast<int32_t>(extents.size());
  out.file = tensors_[index].file;
  out.offset = e.begin;
  out.nbytes = e.end - e.begin;
  out.data = data;
  // A file that did not align its tensors is read through `read`.
  const uint64_t width = std::max<uint64_t>(e.dtype->type.bits / 8, 1);
  out.plain = reinterpret_cast<uintptr_t>(data) % width == 0 ? 1 : 0;
  return out;
}

std::string_view Reader::document(std::string_view name) const {
  const bool plain_name = !name.empty() && name != "." && name != ".." &&
                          name.find('/') == std::string_view::npos &&
                          name.find('\0') == std::string_view::npos;
  if (!plain_name || name.ends_with(".safetensors")) return {};
  return documents_.get(name, [this](std::string_view wanted) {
    std::string text;
    std::error_code error;
    const fs::path path = directory_ / wanted;
    if (fs::is_regular_file(path, error)) {
      std::ifstream in(path, std::ios::binary);
      text.assign(std::istreambuf_iterator<char>(in), {});
    }
    return text;
  });
}

void Reader::read(const Exec& exec, size_t index, int64_t begin, int64_t end, DLTensor& out) const {
  const Entry& e = entry(index);
  const auto refuse = [&](const std::string& sentence) {
    throw Error(MOPT_INVALID_ARGUMENT, "tensor " + in_quotes(e.name) + ": " + sentence,
                std::string(e.name));
  };
  const std::span<const int64_t> extents = files_[tensors_[index].file].header.shape(e);
  const int64_t rows = extents.empty() ? 1 : extents[0];
  if (begin < 0 || begin > end || end > rows) {
    refuse("expected rows within [0, " + std::to_string(rows) + "), found [" +
           std::to_string(begin) + ", " + std::to_string(end) + "); ask for rows that exist");
  }
  const DLDataType type = e.dtype->type;
  const bool as_f32 =
      same(out.dtype, kF32) && (same(type, kBf16) || same(type, kF16) || same(type, kF64));
  if (!same(out.dtype, type) && !as_f32) {
    refuse("expected " + std::string(e.dtype->name) +
           " or, for floats of 16 or 64 bits, f32 as the type to read, found " +
           dtype_name(out.dtype) + "; read the stored type");
  }
  const int64_t row = extents.empty() ? 1 : elements(extents.subspan(1));
  if (out.device.device_type != kDLCPU || elements(out) != (end - begin) * row) {
    refuse("expected room for " + std::to_string((end - begin) * row) +
           " elements in main memory, found " + std::to_string(elements(out)) +
           "; allocate the rows that are read");
  }
  if (row * type.bits % 8 != 0) refuse("expected rows of whole bytes; read all rows from data");
  const int64_t row_bytes = row * type.bits / 8;
  const std::byte* from = bytes(index) + begin * row_bytes;
  const int64_t width = std::max<int64_t>(type.bits / 8, 1);
  exec.for_each((end - begin) * row_bytes / width, kCopyBytes / width, [&](int64_t a, int64_t b) {
    if (as_f32) {
      to_f32(type, from + a * width, data<float>(out) + a, b - a);
    } else {
      std::memcpy(data<std::byte>(out) + a * width, from + a * width,
                  static_cast<size_t>((b - a) * width));
    }
  });
}

void Reader::prefetch(size_t index) const {
  if (index >= tensors_.size()) return;
  const Entry& e = entry(index);
  mapped(index).prefetch(e.begin, e.end);
}
void Reader::release(size_t index) const {
  if (index >= tensors_.size()) return;
  const Entry& e = entry(index);
  mapped(index).release(e.begin, e.end);
}

}  // namespace mopt::safetensors
