// An open checkpoint: tensors by name and texts, whichever format plugin reads it; and its writer.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <span>

#include "host/loader/components.hpp"
#include "mopt/names.hpp"

namespace mopt {

// A tensor of an open container; pointers live as long as the container.
struct StoredTensor {
  std::string_view name, encoding;
  DLDataType dtype{};
  std::span<const int64_t> shape;
  size_t index = 0;
  uint32_t file = 0;
  uint64_t offset = 0, stored_bytes = 0;
  const std::byte* data = nullptr;  // stored bytes, mapped
  bool plain = false;               // data is the presented tensor as it is
  uint64_t bytes() const { return mopt_nbytes(static_cast<uint64_t>(elements(shape)), dtype); }
};

class Container {
 public:
  // Probes every format plugin with the path. Throws mopt::Error (NOT_FOUND, UNSUPPORTED,
  // DATA_LOSS).
  static Container open(const Registry&, const std::filesystem::path&);

  std::string_view format() const { return format_; }
  const std::filesystem::path& path() const { return path_; }
  const std::vector<StoredTensor>& tensors() const { return tensors_; }
  const StoredTensor* find(std::string_view name) const;  // from any thread
  // All tensors as an exporter reads them; they borrow from this container.
  std::vector<mopt_tensor_decl> declarations() const;
  std::vector<std::string> files() const;
  std::string_view document(std::string_view name) const;
  std::string_view metadata() const;
  // The rows [begin, end) as `dtype` (the presented type or f32) into `out`.
  void read(const StoredTensor&, int64_t begin, int64_t end, DLTensor* out) const;
  // The whole tensor in its presented type; borrowed from the map when it is plain.
  TensorRef map(const StoredTensor&) const;  // plain tensors only
  Tensor load(const StoredTensor&, DLDataType dtype) const;
  void prefetch(const StoredTensor&) const;
  void release(const StoredTensor&) const;

 private:
  std::filesystem::path path_;
  std::string format_;
  const mopt_exec* exec_ = nullptr;
  Instance<mopt_format> instance_;
  std::vector<StoredTensor> tensors_;
  // Filled at the first find: not every use of a container looks for names.
  struct Lookup {
    std::once_flag once;
    std::optional<NameTable> names;  // numbered like tensors_
  };
  std::unique_ptr<Lookup> by_name_ = std::make_unique<Lookup>();
};

enum class WriteMode { kFresh, kResume };

// Writes a checkpoint whose every tensor is known beforehand.
class ContainerWriter {
 public:
  struct Plan {
    std::filesystem::path directory;
    std::vector<TensorDecl> tensors;
    uint64_t shard_bytes = 0;
  };
  ContainerWriter(const Registry&, std::string_view format, const Plan&, WriteMode);
  // The size of all files that will be made.
  static uint64_t predict(const Registry&, std::string_view format, const Plan&);
  static uint64_t predict(const Registry&, std::string_view format,
                          std::span<const mopt_tensor_decl>, uint64_t shard_bytes);
  void write(std::string_view name, uint64_t offset, std::span<const std::byte>);
  void sync();
  void commit();

 private:
  Instance<mopt_format> instance_;
};

}  // namespace mopt
