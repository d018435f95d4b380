// A file for what does not fit into memory: it loses its name at once, so that nothing of it is
// left however the process ends. Read and written past the page cache where the file system agrees.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace mopt::pipeline {

class ScratchFile {
 public:
  static constexpr size_t kPage = 4096;

  // Reserves `bytes`. Throws Failure R102 when the disk then has fewer than `keep_free` left, Error
  // MOPT_IO when no file can be made there.
  ScratchFile(std::filesystem::path, uint64_t bytes, uint64_t keep_free);
  ~ScratchFile();
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  // Offsets, sizes and memory are whole pages. Throws Error MOPT_IO, Failure R102. [any thread]
  void write(uint64_t offset, std::span<const std::byte>);
  void read(uint64_t offset, std::span<std::byte>);

 private:
  void open();
  void check_room(uint64_t bytes, uint64_t keep_free) const;
  // Repeats a call of pread or pwrite until `bytes` are through.
  template <class Call>
  void all(const char* action, size_t bytes, const Call& call);
  [[noreturn]] void fail(const std::string& action, int code) const;

  std::filesystem::path path_;
  int fd_ = -1;
};

}  // namespace mopt::pipeline
