#include "host/pipeline/output.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <sstream>
#include <vector>

#include "host/pipeline/failure.hpp"

namespace mopt::pipeline {
namespace {

namespace fs = std::filesystem;

constexpr const char* kReplaces = "mopt/replaces";
constexpr size_t kCopyBytes = size_t{1} << 20;

[[noreturn]] void cannot_write(const fs::path& path, int error) {
  const bool full = error == ENOSPC || error == EDQUOT;
  fail(full ? "R102" : "R106", path,
       std::string("the file cannot be written: ") + std::strerror(error),
       full ? "make room and continue with --resume" : "check its permissions");
}

bool lies_in(const fs::path& inner, const fs::path& outer) {
  const fs::path a = fs::weakly_canonical(inner), b = fs::weakly_canonical(outer);
  return std::mismatch(b.begin(), b.end(), a.begin(), a.end()).first == b.end();
}

// The process that holds the lock, which the kernel knows from its first moment to its last; empty
// when it is one that is not shown here (of another machine or container).
std::string holder(int fd) {
  struct stat info {};
  if (fstat(fd, &info) != 0) return {};
  char file[64];
  std::snprintf(file, sizeof file, "%02x:%02x:%llu", major(info.st_dev), minor(info.st_dev),
                static_cast<unsigned long long>(info.st_ino));
  // "1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF"; a waiting one has "->" in front.
  std::ifstream locks("/proc/locks");
  for (std::string line; std::getline(locks, line);) {
    std::istringstream words(line);
    std::string number, kind, mode, access, process, place;
    words >> number >> kind >> mode >> access >> process >> place;
    if (kind == "FLOCK" && place == file && process != "0") return process;
  }
  return {};
}

void sync_directory(const fs::path& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  fsync(fd);
  close(fd);
}

// Calls `fill` with a function that appends bytes; the file has its name when all are on the disk.
using Append = std::function<void(std::string_view)>;
void write_atomically(const fs::path& path, const std::function<void(const Append&)>& fill) {
  fs::path scratch = path;
  scratch += ".new";
  const int fd = open(scratch.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) cannot_write(path, errno);
  int error = 0;
  fill([&](std::string_view bytes) {
    while (error == 0 && !bytes.empty()) {
      const ssize_t n = ::write(fd, bytes.data(), bytes.size());
      if (n < 0 && errno != EINTR) error = errno;
      if (n > 0) bytes.remove_prefix(static_cast<size_t>(n));
    }
  });
  if (error == 0 && fsync(fd) != 0) error = errno;
  if (close(fd) != 0 && error == 0) error = errno;
  if (error == 0 && std::rename(scratch.c_str(), path.c_str()) != 0) error = errno;
  if (error != 0) cannot_write(path, error);
}

void make_directory(const fs::path& path) {
  std::error_code failed;
  fs::create_directories(path, failed);
  if (failed) {
    fail("R106", path, "the directory cannot be made: " + failed.message(),
         "check its permissions, or choose another --output");
  }
}

void check_place(const fs::path& output, const fs::path& source) {
  if (fs::is_directory(source) && lies_in(output, source)) {
    fail("R108", output, "the output lies in the source " + source.string(),
         "choose a directory of its own with --output");
  }
  // With --overwrite the output's place is emptied in the end.
  if (lies_in(source, output)) {
    fail("R108", output, "the source " + source.string() + " lies in the output",
         "choose a directory of its own with --output");
  }
}

}  // namespace

fs::path output_place(const fs::path& dir) {
  const fs::path place = fs::absolute(dir).lexically_normal();
  return place.has_filename() ? place : place.parent_path();
}

OutputDirectory::Lock::Lock(const fs::path& directory) {
  fd_ = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd_ < 0) {
    fail("R106", directory, std::string("the directory cannot be opened: ") + std::strerror(errno),
         "check its permissions");
  }
  if (flock(fd_, LOCK_EX | LOCK_NB) == 0) return;
  std::string id = holder(fd_);
  close(fd_);
  // Some file systems (overlays) show the kernel another number than us.
  if (id.empty()) std::ifstream(directory / "mopt/pid") >> id;
  fail("R104", directory,
       (id.empty() ? "another process" : "process " + id) + " is writing this output",
       "wait for it, or choose another --output");
}

OutputDirectory::Lock::~Lock() {
  if (fd_ >= 0) close(fd_);
}

bool OutputDirectory::Lock::holds(const fs::path& directory) const {
  struct stat locked {};
  struct stat named {};
  return fstat(fd_, &locked) == 0 && stat(directory.c_str(), &named) == 0 &&
         locked.st_ino == named.st_ino && locked.st_dev == named.st_dev;
}

OutputDirectory::OutputDirectory(const fs::path& dir, const fs::path& source, Unfinished unfinished,
                                 Existing existing) {
  final_ = output_place(dir);
  partial_ = final_;
  partial_ += ".partial";
  check_place(final_, source);
  end_replacement(final_);
  const bool resumes = started() && unfinished == Unfinished::kResume;
  // A run that was begun with --overwrite goes on as one.
  if (existing == Existing::kRefuse && fs::exists(final_) &&
      !(resumes && fs::exists(partial_ / kReplaces))) {
    fail("R105", final_, "the output exists",
         "choose another --output, or replace it with --overwrite");
  }
  make_directory(partial_);
  lock_ = Lock(partial_);
  if (!lock_.holds(partial_)) {
    fail("R104", partial_, "another process finished this output just now",
         "start again, with --overwrite if it is to be replaced");
  }
  if (started() && unfinished == Unfinished::kRefuse) {
    fail("R107", partial_, "an unfinished run stands there",
         "continue it with --resume, or throw it away with --restart");
  }
  if (!resumes) begin();
  make_directory(own());
  write("mopt/pid", std::to_string(getpid()));
  if (existing == Existing::kOverwrite) write(kReplaces, "");
}

OutputDirectory::~OutputDirectory() {
  if (published_ || started()) return;
  std::error_code ignored;
  fs::remove_all(partial_, ignored);
}

// Whether anything stands in the partial directory that a run would have to make again.
bool OutputDirectory::started() const {
  std::error_code failed;
  for (const fs::directory_entry& entry : fs::directory_iterator(partial_, failed)) {
    if (entry.path().filename() != "mopt") return true;
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(own(), failed)) {
    const std::string name = entry.path().stem();
    if (name != "pid" && name != "replaces") return true;
  }
  return false;
}

void OutputDirectory::begin() {
  for (const fs::directory_entry& entry : fs::directory_iterator(partial_))
    fs::remove_all(entry.path());
}

bool OutputDirectory::end_replacement(const fs::path& dir) {
  if (!fs::exists(dir / kReplaces)) return false;
  const Lock lock(dir);  // its writer may be at it just now
  fs::path old = dir;
  old += ".partial";
  fs::remove_all(old);
  fs::remove(dir / kReplaces);
  return true;
}

uint64_t OutputDirectory::space() const {
  struct statvfs info {};
  if (statvfs(partial_.c_str(), &info) != 0) return UINT64_MAX;
  return static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
}

void OutputDirectory::write(const std::string& name, std::string_view text) const {
  write_atomically(partial_ / name, [&](const Append& append) { append(text); });
}

void OutputDirectory::copy(const std::string& name, const fs::path& from) const {
  std::ifstream in(from, std::ios::binary);
  std::vector<char> piece(kCopyBytes);
  write_atomically(partial_ / name, [&](const Append& append) {
    while (in.read(piece.data(), static_cast<std::streamsize>(piece.size())), in.gcount() > 0)
      append({piece.data(), static_cast<size_t>(in.gcount())});
  });
  if (!in.eof()) {
    fail("R109", from, "the file of the source cannot be read", "check its permissions and disk");
  }
}

void OutputDirectory::publish() {
  fs::remove(own() / "pid");
  const bool replace = fs::exists(partial_ / kReplaces) && fs::exists(final_);
  if (!replace) fs::remove(partial_ / kReplaces);
  sync_directory(own());
  sync_directory(partial_);
  const unsigned flags = replace ? RENAME_EXCHANGE : RENAME_NOREPLACE;
  bool renamed = renameat2(AT_FDCWD, partial_.c_str(), AT_FDCWD, final_.c_str(), flags) == 0;
  // File systems without the flags; this process holds the lock.
  if (!renamed && (errno == EINVAL || errno == ENOSYS)) {
    fs::path old = partial_;
    old += ".old";
    renamed = (!replace || std::rename(final_.c_str(), old.c_str()) == 0) &&
              std::rename(partial_.c_str(), final_.c_str()) == 0 &&
              (!replace || std::rename(old.c_str(), partial_.c_str()) == 0);
  }
  if (!renamed) {
    fail("R106", final_,
         std::string("the finished output cannot be moved to its place: ") + std::strerror(errno),
         "move it by hand from " + partial_.string());
  }
  published_ = true;
  sync_directory(final_.parent_path());
  if (!replace) return;
  fs::remove_all(partial_);
  fs::remove(final_ / kReplaces);
  sync_directory(final_ / "mopt");
}

}  // namespace mopt::pipeline
