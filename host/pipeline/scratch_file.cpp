#include "host/pipeline/scratch_file.hpp"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "host/recipe/diagnostic.hpp"
#include "mopt/error.hpp"

namespace mopt::pipeline {
namespace {

std::string mib(uint64_t bytes) {
  return std::to_string((bytes + (uint64_t{1} << 20) - 1) >> 20) + " MiB";
}

[[noreturn]] void full(const std::filesystem::path& path, std::string message) {
  Diagnostic d;
  d.code = "R102";
  d.file = path.parent_path().string();
  d.message = std::move(message);
  d.remedy =
      "make room, allow more with --memory-limit or --device-memory-limit, or calibrate on fewer "
      "samples";
  throw Failure(std::move(d));
}

}  // namespace

ScratchFile::ScratchFile(std::filesystem::path path, uint64_t bytes, uint64_t keep_free)
    : path_(std::move(path)) {
  check_room(bytes, keep_free);
  open();
  // Where it is not supported, blocks are found as they are written.
  if (::fallocate(fd_, 0, 0, static_cast<off_t>(bytes)) == 0) return;
  const int code = errno;
  if (code == EOPNOTSUPP || code == ENOSYS || code == EINTR) return;
  ::close(fd_);
  fail("reserve " + mib(bytes) + " for", code);
}

ScratchFile::~ScratchFile() {
  ::close(fd_);
}

void ScratchFile::open() {
  constexpr int kFlags = O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC;
  fd_ = ::open(path_.c_str(), kFlags | O_DIRECT, 0600);
  if (fd_ < 0 && errno == EINVAL) fd_ = ::open(path_.c_str(), kFlags, 0600);
  if (fd_ < 0) fail("make", errno);
  ::unlink(path_.c_str());
}

void ScratchFile::check_room(uint64_t bytes, uint64_t keep_free) const {
  struct statvfs info {};
  if (::statvfs(path_.parent_path().c_str(), &info) != 0) fail("ask for the room beside", errno);
  const uint64_t room = uint64_t{info.f_bavail} * info.f_frsize;
  if (room >= keep_free && room - keep_free >= bytes) return;
  full(path_, "activations that fit neither on the device nor in memory take " + mib(bytes) +
                  (keep_free == 0 ? "" : " beside the " + mib(keep_free) + " of the output") +
                  ", the disk has " + mib(room) + " free");
}

void ScratchFile::fail(const std::string& action, int code) const {
  if (code == ENOSPC || code == EDQUOT)
    full(path_, "the disk is full: activations that fit neither on the device nor in memory");
  throw Error(MOPT_IO,
              "expected to " + action + " a file of activations, found: " +
                  std::generic_category().message(code) + "; check the disk and its permissions",
              path_.string());
}

template <class Call>
void ScratchFile::all(const char* action, size_t bytes, const Call& call) {
  bool buffered = false;
  for (size_t done = 0; done < bytes;) {
    const ssize_t n = call(done);
    if (n > 0) {
      done += static_cast<size_t>(n);
      continue;
    }
    const int code = n == 0 ? EIO : errno;  // no bytes: the file ends early
    if (code == EINTR) continue;
    // The file system knows no direct access after all, or none to what a short one left.
    if (code != EINVAL || std::exchange(buffered, true)) fail(action, code);
    ::fcntl(fd_, F_SETFL, ::fcntl(fd_, F_GETFL) & ~O_DIRECT);
  }
}

void ScratchFile::write(uint64_t offset, std::span<const std::byte> bytes) {
  all("write", bytes.size(), [&](size_t done) {
    return ::pwrite(fd_, bytes.data() + done, bytes.size() - done,
                    static_cast<off_t>(offset + done));
  });
}

void ScratchFile::read(uint64_t offset, std::span<std::byte> bytes) {
  all("read", bytes.size(), [&](size_t done) {
    return ::pread(fd_, bytes.data() + done, bytes.size() - done,
                   static_cast<off_t>(offset + done));
  });
}

}  // namespace mopt::pipeline
