#include "host/compute/large_pages.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <cstdint>

namespace mopt::compute {
namespace {

constexpr size_t kSmallPage = 4096;

// Makes all pages be there. The call says so when memory is short, where a touched page would end
// the process; Linux before 5.14 does not know it.
bool populate(std::byte* memory, size_t bytes) {
  if (madvise(memory, bytes, MADV_POPULATE_WRITE) == 0) return true;
  if (errno != EINVAL) return false;
  for (size_t at = 0; at < bytes; at += kSmallPage)
    *reinterpret_cast<volatile std::byte*>(memory + at) = std::byte{};
  return true;
}

}  // namespace

std::byte* map_large_pages(size_t bytes) {
  // One page more, from which the ends are given back, so that it starts where a page may.
  const size_t mapped = bytes + kLargePage;
  void* at = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return nullptr;
  auto* const begin = static_cast<std::byte*>(at);
  const size_t before = (kLargePage - reinterpret_cast<uintptr_t>(begin) % kLargePage) % kLargePage;
  std::byte* const memory = begin + before;
  if (before > 0) munmap(begin, before);
  munmap(memory + bytes, kLargePage - before);
  madvise(memory, bytes, MADV_HUGEPAGE);  // refused where the system has none
  if (populate(memory, bytes)) return memory;
  munmap(memory, bytes);
  return nullptr;
}

void unmap_large_pages(std::byte* memory, size_t bytes) {
  munmap(memory, bytes);
}

}  // namespace mopt::compute
