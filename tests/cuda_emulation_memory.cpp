#include "tests/cuda_emulation_memory.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

namespace mopt::emulation {
namespace {

constexpr size_t kPage = 4096;
constexpr unsigned char kGarbage = 0xA5;

struct Block {
  size_t bytes, mapped;  // mapped: whole pages, and one more that stays closed
};

class Memory {
 public:
  void* allocate(size_t bytes) {
    const std::lock_guard lock(mutex_);
    bytes = std::max<size_t>(bytes, 1);
    const size_t pages = (bytes + kPage - 1) / kPage;
    const size_t mapped = (pages + 1) * kPage;
    void* p = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) std::abort();
    // At the end of its pages, so that the closed one is near.
    const size_t room = pages * kPage;
    auto* start = static_cast<unsigned char*>(p) + (room - bytes) / 256 * 256;
    std::memset(p, kGarbage, room);
    mprotect(static_cast<char*>(p) + room, kPage, PROT_NONE);
    blocks_[start] = {bytes, mapped};
    if (open_ == 0) protect(start, PROT_NONE);
    return start;
  }

  void release(void* p) {
    if (p == nullptr) return;
    const std::lock_guard lock(mutex_);
    const auto found = blocks_.find(p);
    if (found == blocks_.end()) fail("memory is released that was not allocated");
    const auto* start = static_cast<unsigned char*>(p);
    protect(p, PROT_READ);
    for (const unsigned char* c = start + found->second.bytes; c < first_page(p) + room(p); ++c) {
      if (*c != kGarbage) fail("a kernel wrote beyond the end of its memory");
    }
    for (const unsigned char* c = first_page(p); c < start; ++c) {
      if (*c != kGarbage) fail("a kernel wrote before the start of its memory");
    }
    munmap(first_page(p), found->second.mapped);
    blocks_.erase(found);
  }

  void open() {
    const std::lock_guard lock(mutex_);
    if (open_++ > 0) return;
    for (const auto& entry : blocks_)
      protect(entry.first, PROT_READ | PROT_WRITE);
  }
  void close() {
    const std::lock_guard lock(mutex_);
    if (--open_ > 0) return;
    for (const auto& entry : blocks_)
      protect(entry.first, PROT_NONE);
  }

 private:
  static unsigned char* first_page(void* p) {
    return reinterpret_cast<unsigned char*>(reinterpret_cast<uintptr_t>(p) / kPage * kPage);
  }
  size_t room(void* p) const { return blocks_.at(p).mapped - kPage; }
  void protect(void* p, int how) const { mprotect(first_page(p), room(p), how); }
  [[noreturn]] static void fail(const char* what) {
    std::fprintf(stderr, "emulated device: %s\n", what);
    std::abort();
  }

  std::mutex mutex_;
  std::map<void*, Block> blocks_;
  int open_ = 0;
};

Memory& memory() {
  static Memory instance;
  return instance;
}

}  // namespace

void* allocate(size_t bytes) {
  return memory().allocate(bytes);
}
void release(void* p) {
  memory().release(p);
}
Access::Access() {
  memory().open();
}
Access::~Access() {
  memory().close();
}

}  // namespace mopt::emulation
