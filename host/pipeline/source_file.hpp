// A file of a checkpoint, read at given places by many threads: through the page cache where it
// holds the bytes, past it where it does not.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <span>

namespace mopt::pipeline {

enum class Residency { kCached, kAbsent };

// Whether the page cache holds most of `mapped`, bytes of a mapped file. No page is faulted in.
Residency residency(std::span<const std::byte> mapped);

class SourceFile {
 public:
  // Throws Error MOPT_IO when it cannot be opened.
  explicit SourceFile(std::filesystem::path path);
  ~SourceFile();
  SourceFile(const SourceFile&) = delete;
  SourceFile& operator=(const SourceFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  uint64_t size() const;
  // What offsets, lengths and memory of a direct read must be multiples of.
  size_t alignment() const { return alignment_; }

  // The `size` bytes at `offset`, somewhere in `memory`, which is no smaller; what it holds around
  // them is undefined. The read is direct when they are absent from the page cache, `memory` is
  // aligned and has room for the whole blocks around them, and the file system agrees. Throws Error
  // MOPT_DATA_LOSS when the file ends before, MOPT_IO.
  enum class How { kBuffered, kDirect };
  struct Place {
    size_t begin;  // in the memory
    How how;
  };
  Place read(uint64_t offset, size_t size, std::span<std::byte> memory, Residency);
  // The same through the page cache, into exactly `out`.
  void read(uint64_t offset, std::span<std::byte> out) const;
  // The advice that a few places are read, not a stretch: nothing around them is fetched.
  void expect_random() const;

 private:
  bool read_direct(uint64_t offset, size_t needed, std::span<std::byte> blocks);
  void ask_alignment();
  bool can_read_directly();

  std::filesystem::path path_;
  int fd_ = -1;
  std::once_flag opened_;  // direct_, when it is first needed
  int direct_ = -1;
  size_t alignment_ = 4096;
  std::atomic<bool> refused_ = false;  // direct reads, by the file system
};

}  // namespace mopt::pipeline
