// What readers of containers share (POSIX): a file mapped into memory, and texts made once.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <functional>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "mopt/error.hpp"

namespace mopt {

// A regular file, mapped read-only and private, whole. Owns the mapping, not the file: bytes that
// another process cuts off later raise SIGBUS when they are read. Any thread may use it.
class MappedFile {
 public:
  // Words and limits for the refusals.
  struct Expected {
    std::string_view what, remedy;  // "a GGUF file", "check the path"
    uint64_t least_bytes = 0;
  };

  // Throws MOPT_NOT_FOUND for what is no regular file, MOPT_DATA_LOSS for one that is too short,
  // MOPT_IO for one that cannot be read.
  MappedFile(const std::string& path, const Expected& expected) {
    struct stat status = {};
    const bool found = ::stat(path.c_str(), &status) == 0;
    if (!found && errno != ENOENT && errno != ENOTDIR) refuse(path);
    if (!found || !S_ISREG(status.st_mode)) {
      throw Error(MOPT_NOT_FOUND,
                  path + ": expected " + std::string(expected.what) + ", found " +
                      (found ? "something else" : "nothing there") + "; " +
                      std::string(expected.remedy),
                  path);
    }
    size_ = static_cast<uint64_t>(status.st_size);
    if (size_ < expected.least_bytes) {
      throw Error(MOPT_DATA_LOSS,
                  path + ": expected at least " + std::to_string(expected.least_bytes) +
                      " bytes, found " + std::to_string(size_) + "; " + std::string(kDamaged),
                  path);
    }
    if (size_ > 0) map(path);
  }
  MappedFile(MappedFile&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  MappedFile& operator=(MappedFile&&) = delete;
  ~MappedFile() {
    if (data_ != nullptr) ::munmap(data_, size_);
  }

  // Valid as long as this object.
  std::span<const uint8_t> bytes() const { return {static_cast<const uint8_t*>(data_), size_}; }

  // Hints for bytes [begin, end), which may reach beyond the end: soon needed; not needed for now.
  // Released bytes are read from the file again when they are touched.
  void prefetch(uint64_t begin, uint64_t end) const { advise(begin, end, MADV_WILLNEED); }
  void release(uint64_t begin, uint64_t end) const { advise(begin, end, MADV_DONTNEED); }

 private:
  [[noreturn]] static void refuse(const std::string& path) {
    throw Error(MOPT_IO,
                path + ": expected a file that can be read, found: " +
                    std::generic_category().message(errno) + "; check its permissions",
                path);
  }

  void map(const std::string& path) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) refuse(path);
    void* data = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
    if (data == MAP_FAILED) {
      const int reason = errno;
      ::close(file);
      errno = reason;
      refuse(path);
    }
    ::close(file);
    data_ = data;
  }

  // A page fault maps what lies around it too: 64 KiB, from Linux 6.18 on a whole folio of the page
  // cache, but nothing beyond one table of pages.
  static constexpr uintptr_t kFaultBytes = 2 << 20;

  // Outwards to what one page fault maps around itself: the mapping is read-only, so a neighbour's
  // dropped page only has to be mapped again.
  void advise(uint64_t begin, uint64_t end, int advice) const {
    const auto base = reinterpret_cast<uintptr_t>(data_);
    const uintptr_t stop = base + std::min(end, size_);
    const uintptr_t first = std::max(base, (base + begin) / kFaultBytes * kFaultBytes);
    const uintptr_t last =
        std::min(base + size_, (stop + kFaultBytes - 1) / kFaultBytes * kFaultBytes);
    if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, advice);
  }

  void* data_ = nullptr;
  uint64_t size_ = 0;
};

// The documents of a reader by name. Any thread may ask; a text is made by the first who does and
// stays where it is as long as this object.
class Documents {
 public:
  // make(name) -> std::string; what it throws leaves nothing behind.
  template <class Make>
  std::string_view get(std::string_view name, const Make& make) {
    const std::scoped_lock lock(mutex_);
    const auto known = texts_.find(name);
    if (known != texts_.end()) return known->second;
    return texts_.emplace(name, make(name)).first->second;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::string, std::less<>> texts_;
};

}  // namespace mopt
