#include "host/pipeline/source_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <string>
#include <system_error>

#include "mopt/error.hpp"

namespace mopt::pipeline {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kSamples = 16;
// Larger alignments than this are no block devices; such a file is read through the page cache.
constexpr size_t kLargestAlignment = size_t{1} << 20;

[[noreturn]] void io_error(const std::filesystem::path& path, const std::string& action, int code) {
  throw Error(MOPT_IO,
              "expected to " + action + ", found: " + std::generic_category().message(code) +
                  "; check the disk and its permissions",
              path.string());
}

[[noreturn]] void ends_early(const std::filesystem::path& path, uint64_t offset, uint64_t needed,
                             uint64_t found) {
  throw Error(MOPT_DATA_LOSS,
              "expected " + std::to_string(needed) + " bytes at offset " + std::to_string(offset) +
                  ", the file ends after " + std::to_string(found) + " of them; " +
                  std::string(kDamaged),
              path.string());
}

int open_file(const std::filesystem::path& path, int flags) {
  int fd = -1;
  do {
    fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | flags);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

// Bytes read; fewer than asked for only at the end of the file.
size_t read_all(int fd, const std::filesystem::path& path, uint64_t offset,
                std::span<std::byte> out) {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t n =
        ::pread(fd, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) io_error(path, "read it", errno);
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

bool is_aligned(std::span<const std::byte> memory, size_t alignment) {
  return reinterpret_cast<uintptr_t>(memory.data()) % alignment == 0;
}

}  // namespace

// A few pages stand for the piece: pages come and go in stretches. Measured on pieces of 8 MiB:
// asking for all pages takes 24 % of the time that copying them takes, 16 of them 3 %. cachestat
// is cheaper still, but not in kernels before 6.5. preadv2 with RWF_NOWAIT answers nothing that is
// absent, but starts to read ahead: half of a cold file was then read twice.
Residency residency(std::span<const std::byte> mapped) {
  if (mapped.empty()) return Residency::kCached;
  // The mapping begins at a page, and so does the memory before a piece of it.
  const size_t lead = reinterpret_cast<uintptr_t>(mapped.data()) % kPage;
  auto* first = const_cast<std::byte*>(mapped.data()) - lead;
  const size_t pages = (lead + mapped.size() + kPage - 1) / kPage;
  const size_t samples = std::min(kSamples, pages);
  size_t present = 0;
  for (size_t i = 0; i < samples; ++i) {
    std::byte* page = first + pages * i / samples * kPage;
    unsigned char state = 0;
    // What the kernel does not tell is read as if it were there.
    if (::mincore(page, kPage, &state) != 0) state = 1;
    present += state & 1;
  }
  return 2 * present >= samples ? Residency::kCached : Residency::kAbsent;
}

SourceFile::SourceFile(std::filesystem::path path) : path_(std::move(path)) {
  fd_ = open_file(path_, 0);
  if (fd_ < 0) io_error(path_, "open it", errno);
  ask_alignment();
}

SourceFile::~SourceFile() {
  if (direct_ >= 0) ::close(direct_);
  ::close(fd_);
}

void SourceFile::ask_alignment() {
#ifdef STATX_DIOALIGN
  struct statx info {};
  if (::statx(fd_, "", AT_EMPTY_PATH, STATX_DIOALIGN, &info) == 0 &&
      (info.stx_mask & STATX_DIOALIGN) != 0) {
    const size_t needed = std::max(info.stx_dio_mem_align, info.stx_dio_offset_align);
    refused_ = info.stx_dio_offset_align == 0 || needed > kLargestAlignment ||
               !std::has_single_bit(needed);
    if (!refused_) alignment_ = std::max(alignment_, needed);
  }
#endif
}

bool SourceFile::can_read_directly() {
  if (refused_) return false;
  std::call_once(opened_, [this] {
    direct_ = open_file(path_, O_DIRECT);
    if (direct_ < 0) refused_ = true;
  });
  return !refused_;
}

uint64_t SourceFile::size() const {
  struct stat info {};
  if (::fstat(fd_, &info) != 0) io_error(path_, "ask for its size", errno);
  return static_cast<uint64_t>(info.st_size);
}

// False when the file system refuses; the same bytes can then be read through the page cache.
bool SourceFile::read_direct(uint64_t offset, size_t needed, std::span<std::byte> blocks) {
  ssize_t n = -1;
  do {
    n = ::pread(direct_, blocks.data(), blocks.size(), static_cast<off_t>(offset));
  } while (n < 0 && errno == EINTR);
  if (n < 0) {
    if (errno != EINVAL && errno != EOPNOTSUPP) io_error(path_, "read it", errno);
    refused_ = true;
    return false;
  }
  const auto got = static_cast<size_t>(n);
  if (got >= needed) return true;
  // Cut short, by a signal or by the end of the file: the rest need not begin at a block.
  const size_t rest = read_all(fd_, path_, offset + got, blocks.subspan(got, needed - got));
  if (got + rest < needed) ends_early(path_, offset, needed, got + rest);
  return true;
}

SourceFile::Place SourceFile::read(uint64_t offset, size_t size, std::span<std::byte> memory,
                                   Residency where) {
  // Memory too small for the place in its block holds the bytes at its start.
  size_t lead = offset % alignment_;
  if (lead + size > memory.size()) lead = 0;
  const size_t blocks = (lead + size + alignment_ - 1) / alignment_ * alignment_;
  if (where == Residency::kAbsent && blocks <= memory.size() && (offset - lead) % alignment_ == 0 &&
      is_aligned(memory, alignment_) && can_read_directly() &&
      read_direct(offset - lead, lead + size, memory.first(blocks))) {
    return {lead, How::kDirect};
  }
  read(offset, memory.subspan(lead, size));
  return {lead, How::kBuffered};
}

void SourceFile::read(uint64_t offset, std::span<std::byte> out) const {
  const size_t got = read_all(fd_, path_, offset, out);
  if (got < out.size()) ends_early(path_, offset, out.size(), got);
}

void SourceFile::expect_random() const {
  ::posix_fadvise(fd_, 0, 0, POSIX_FADV_RANDOM);
}

}  // namespace mopt::pipeline
