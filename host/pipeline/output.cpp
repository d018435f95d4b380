#include "host/pipeline/output.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <fstream>

#include "host/recipe/diagnostic.hpp"

namespace mopt::pipeline {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(std::string code, const fs::path& file, std::string message,
                       std::string remedy) {
  Diagnostic d;
  d.code = std::move(code);
  d.file = file.string();
  d.message = std::move(message);
  d.remedy = std::move(remedy);
  throw Failure(d);
}

std::string reason() {
  return std::strerror(errno);
}

bool lies_in(const fs::path& inner, const fs::path& outer) {
  const fs::path a = fs::weakly_canonical(inner), b = fs::weakly_canonical(outer);
  return std::mismatch(b.begin(), b.end(), a.begin(), a.end()).first == b.end();
}

void sync_directory(const fs::path& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  fsync(fd);
  close(fd);
}

}  // namespace

OutputDirectory::OutputDirectory(const fs::path& dir, const fs::path& source, Unfinished unfinished,
                                 Existing existing)
    : existing_(existing) {
  final_ = fs::absolute(dir).lexically_normal();
  if (!final_.has_filename()) final_ = final_.parent_path();
  partial_ = final_;
  partial_ += ".partial";
  if (fs::is_directory(source) ? lies_in(final_, source) : fs::weakly_canonical(source) == final_) {
    fail("R108", final_, "the output lies in the source " + source.string(),
         "choose a directory of its own with --output");
  }
  const bool started = fs::exists(partial_);
  if (fs::exists(final_) && existing == Existing::kRefuse &&
      !(started && unfinished == Unfinished::kResume)) {
    fail("R105", final_, "the output exists",
         "choose another --output, or replace it with --overwrite");
  }
  std::error_code failed;
  fs::create_directories(partial_, failed);
  if (failed)
    fail("R106", partial_, "the directory cannot be made: " + failed.message(),
         "choose another --output");
  lock();
  if (started && unfinished == Unfinished::kRefuse) {
    fail("R107", partial_, "an unfinished run stands there",
         "continue it with --resume, or throw it away with --restart");
  }
  if (started && unfinished == Unfinished::kRestart) {
    for (const fs::directory_entry& entry : fs::directory_iterator(partial_))
      fs::remove_all(entry.path());
  }
  fs::create_directories(own(), failed);
  if (failed)
    fail("R106", own(), "the directory cannot be made: " + failed.message(),
         "check its permissions");
  write("mopt/pid", std::to_string(getpid()));
}

OutputDirectory::~OutputDirectory() {
  if (lock_ >= 0) close(lock_);
}

void OutputDirectory::lock() {
  lock_ = open(partial_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock_ < 0)
    fail("R106", partial_, "the directory cannot be opened: " + reason(), "check its permissions");
  if (flock(lock_, LOCK_EX | LOCK_NB) == 0) return;
  std::string id;
  std::ifstream(own() / "pid") >> id;
  fail("R104", partial_, "process " + (id.empty() ? "(unknown)" : id) + " is writing this output",
       "wait for it, or choose another --output");
}

uint64_t OutputDirectory::space() const {
  struct statvfs info {};
  if (statvfs(partial_.c_str(), &info) != 0) return UINT64_MAX;
  return static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
}

void OutputDirectory::write(const std::string& name, std::string_view text) const {
  const fs::path path = partial_ / name;
  fs::path scratch = path;
  scratch += ".new";
  const int fd = open(scratch.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  bool good = fd >= 0;
  for (size_t at = 0; good && at < text.size();) {
    const ssize_t n = ::write(fd, text.data() + at, text.size() - at);
    good = n > 0;
    if (good) at += static_cast<size_t>(n);
  }
  good = good && fsync(fd) == 0;
  const std::string why = good ? "" : reason();
  if (fd >= 0) close(fd);
  if (!good || std::rename(scratch.c_str(), path.c_str()) != 0) {
    fail(errno == ENOSPC ? "R102" : "R106", path, "the file cannot be written: " + why,
         "check space and permissions");
  }
}

void OutputDirectory::publish() {
  fs::remove(own() / "pid");
  sync_directory(own());
  sync_directory(partial_);
  const bool replace = existing_ == Existing::kOverwrite && fs::exists(final_);
  const unsigned flags = replace ? RENAME_EXCHANGE : RENAME_NOREPLACE;
  if (renameat2(AT_FDCWD, partial_.c_str(), AT_FDCWD, final_.c_str(), flags) != 0) {
    // File systems without the flags: the target was checked, and this process holds the lock.
    if (errno != EINVAL && errno != ENOSYS) {
      fail("R106", final_, "the finished output cannot be moved to its place: " + reason(),
           "move it by hand from " + partial_.string());
    }
    fs::path old = final_;
    old += ".old";
    if (replace) fs::rename(final_, old);
    fs::rename(partial_, final_);
    if (replace) fs::remove_all(old);
  } else if (replace) {
    fs::remove_all(partial_);
  }
  sync_directory(final_.parent_path());
}

}  // namespace mopt::pipeline
