// Writes a checkpoint: files of final size under names that no engine loads, tensors at their final
// offsets in any order, and at commit the final names.
//
//   created      weights-00001-of-00003.creating   a file being laid out; never continued
//   being filled weights-00001-of-00003.partial
//   committed    model-00001-of-00003.safetensors, model.safetensors.index.json
//
// MOPT_WRITE_RESUME continues files that have exactly the plan's header and size. What an earlier
// process wrote into them is not known here: the caller vouches for it, and commit then does not
// ask for tensors that this process did not touch. Tensors that it touched must be complete.
#pragma once

#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "layout.hpp"
#include "mopt/format.hpp"

namespace mopt::safetensors {

// An open file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor();
  int get() const { return fd_; }

 private:
  int fd_;
};

// The bytes of one tensor that were written, as disjoint sorted ranges.
class Coverage {
 public:
  void add(uint64_t begin, uint64_t end);
  bool touched() const { return !ranges_.empty(); }
  uint64_t bytes() const;

 private:
  std::vector<std::pair<uint64_t, uint64_t>> ranges_;
};

// A file being filled: what of it the disk has yet to be given.
struct OpenFile {
  explicit OpenFile(Descriptor d) : descriptor(std::move(d)) {}
  Descriptor descriptor;
  bool touched = false;  // since it was last brought to the disk
  // Written and not yet on the way to the disk: how much, and within which range.
  uint64_t waiting = 0, begin = UINT64_MAX, end = 0;
};

class Writer {
 public:
  Writer(const Host& host, const mopt_write_plan& plan);
  static uint64_t predict(const mopt_write_plan& plan) { return predict_bytes(plan); }
  void write(std::string_view name, uint64_t offset, std::span<const std::byte> data);
  void sync();
  void commit();

 private:
  void create_files();
  bool resume_files();
  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  void note_written(size_t slot, uint64_t offset, uint64_t bytes);
  void check_complete() const;
  void write_index() const;

  std::string directory_;
  std::vector<std::string> names_;  // of the tensors; the slots borrow from them
  Layout layout_;
  std::unordered_map<std::string_view, size_t> slot_of_;
  bool vouched_ = false;           // files of an earlier process are being continued
  std::mutex mutex_;               // guards what follows; descriptors are used without it
  std::vector<OpenFile> files_;    // one per shard
  std::vector<Coverage> written_;  // one per slot
};

}  // namespace mopt::safetensors
