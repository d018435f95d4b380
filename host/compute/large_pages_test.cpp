#include "host/compute/large_pages.hpp"

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <vector>

namespace mopt::compute {
namespace {

constexpr size_t kBytes = 3 * kLargePage;

size_t resident_pages(std::byte* memory, size_t bytes) {
  std::vector<unsigned char> there(bytes / 4096);
  if (mincore(memory, bytes, there.data()) != 0) return 0;  // not mapped as a whole
  return static_cast<size_t>(
      std::ranges::count_if(there, [](unsigned char page) { return (page & 1) != 0; }));
}

TEST_CASE("large pages are there, aligned and zero, until they are given back") {
  for (int round = 0; round < 3; ++round) {
    std::byte* const memory = map_large_pages(kBytes);
    REQUIRE(memory != nullptr);
    CHECK(reinterpret_cast<uintptr_t>(memory) % kLargePage == 0);
    CHECK(resident_pages(memory, kBytes) == kBytes / 4096);
    CHECK(std::all_of(memory, memory + kBytes, [](std::byte b) { return b == std::byte{}; }));
    std::fill_n(memory, kBytes, std::byte{0xa5});
    unmap_large_pages(memory, kBytes);
    CHECK(resident_pages(memory, kBytes) == 0);
  }
}

TEST_CASE("the pages around them do not stay mapped") {
  const auto mapped_pages = [] {
    size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    return pages;
  };
  const size_t before = mapped_pages();
  std::byte* const memory = map_large_pages(kBytes);
  CHECK(mapped_pages() == before + kBytes / 4096);
  unmap_large_pages(memory, kBytes);
  CHECK(mapped_pages() == before);
}

TEST_CASE("no memory is an answer") {
  rlimit limit{};
  getrlimit(RLIMIT_AS, &limit);
  rlimit none = limit;
  none.rlim_cur = 0;
  setrlimit(RLIMIT_AS, &none);
  std::byte* const memory = map_large_pages(kBytes);
  setrlimit(RLIMIT_AS, &limit);
  CHECK(memory == nullptr);
}

}  // namespace
}  // namespace mopt::compute
