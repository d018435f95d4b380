#include "writer.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "mopt/error.hpp"
#include "sources.hpp"

namespace mopt::safetensors {
namespace {

namespace fs = std::filesystem;

// The disk is given written bytes as soon as so many have come together, so that little is left
// when they must be there.
constexpr uint64_t kWriteBackBytes = uint64_t{8} << 20;

[[noreturn]] void io_error(const std::string& path, const std::string& action, int code) {
  throw Error(MOPT_IO,
              path + ": expected to " + action +
                  ", found: " + std::generic_category().message(code) +
                  "; correct the cause and continue with --resume",
              path);
}

// `needed` bytes did not fit on the file system of `path`.
[[noreturn]] void no_space(const std::string& path, uint64_t needed) {
  struct statvfs disk {};
  const bool known = ::statvfs(fs::path(path).parent_path().c_str(), &disk) == 0;
  throw Error(
      MOPT_IO,
      path + ": expected room for " + std::to_string(needed) + " bytes on the disk, found " +
          (known ? std::to_string(disk.f_bavail * disk.f_frsize) + " bytes free" : "it full") +
          "; free some space, or write to another directory",
      path);
}

Descriptor open_file(const std::string& path, int flags) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
  if (fd < 0 && errno == EMFILE) {
    throw Error(MOPT_IO,
                path +
                    ": expected to open one more file, found the process's limit reached; "
                    "choose a larger shard_gb, or raise the limit with ulimit -n",
                path);
  }
  if (fd < 0) io_error(path, "open it for writing", errno);
  return Descriptor(fd);
}

void write_all(int fd, const std::string& path, const std::byte* data, uint64_t n,
               uint64_t offset) {
  while (n > 0) {
    const ssize_t done =
        ::pwrite(fd, data, std::min<uint64_t>(n, 1u << 30), static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0 && (errno == ENOSPC || errno == EDQUOT)) no_space(path, n);
    if (done <= 0) io_error(path, "write " + std::to_string(n) + " bytes", done < 0 ? errno : EIO);
    data += done;
    n -= static_cast<uint64_t>(done);
    offset += static_cast<uint64_t>(done);
  }
}

void reserve(int fd, const std::string& path, uint64_t size) {
  int code = 0;
  do {
    code = ::posix_fallocate(fd, 0, static_cast<off_t>(size));
  } while (code == EINTR);
  // A file system that cannot reserve: the size alone, and a full disk shows when it is written.
  if (code == EOPNOTSUPP || code == EINVAL) {
    code = ::ftruncate(fd, static_cast<off_t>(size)) == 0 ? 0 : errno;
  }
  if (code == ENOSPC || code == EDQUOT) no_space(path, size);
  if (code != 0) io_error(path, "reserve " + std::to_string(size) + " bytes", code);
}

void flush(int fd, const std::string& path) {
  if (::fsync(fd) != 0) io_error(path, "bring its data to the disk", errno);
}

// Only advice: a file system that knows no such call keeps the bytes until it is flushed.
void start_write_back(int fd, uint64_t begin, uint64_t end) {
  const int code = errno;
  ::sync_file_range(fd, static_cast<off_t>(begin), static_cast<off_t>(end - begin),
                    SYNC_FILE_RANGE_WRITE);
  errno = code;
}

void rename_file(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0)
    io_error(from, "rename it to " + in_quotes(to), errno);
}

void flush_directory(const std::string& directory) {
  const Descriptor handle = open_file(directory, O_RDONLY | O_DIRECTORY);
  flush(handle.get(), directory);
}

// Whether an existing file has exactly the shard's size and header.
bool matches(int fd, const Shard& shard) {
  struct stat info {};
  if (::fstat(fd, &info) != 0 || static_cast<uint64_t>(info.st_size) != shard.size) return false;
  std::string head(shard.head.size(), '\0');
  size_t done = 0;
  while (done < head.size()) {
    const ssize_t n = ::pread(fd, head.data() + done, head.size() - done, static_cast<off_t>(done));
    if (n <= 0) return false;
    done += static_cast<size_t>(n);
  }
  return head == shard.head;
}

std::string creating_name(const Shard& shard) {
  return fs::path(shard.partial_name).replace_extension(".creating").string();
}

}  // namespace

Descriptor::~Descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

void Coverage::add(uint64_t begin, uint64_t end) {
  if (begin >= end) return;
  auto first = std::find_if(ranges_.begin(), ranges_.end(),
                            [&](const auto& range) { return range.second >= begin; });
  auto last = first;
  while (last != ranges_.end() && last->first <= end) {
    begin = std::min(begin, last->first);
    end = std::max(end, last->second);
    ++last;
  }
  ranges_.insert(ranges_.erase(first, last), {begin, end});
}

uint64_t Coverage::bytes() const {
  uint64_t sum = 0;
  for (const auto& [begin, end] : ranges_)
    sum += end - begin;
  return sum;
}

Writer::Writer(const Host&, const mopt_write_plan& plan) : directory_(view(plan.directory)) {
  layout_ = make_layout(plan);
  names_.reserve(layout_.slots.size());
  for (size_t i = 0; i < layout_.slots.size(); ++i) {
    Slot& slot = layout_.slots[i];
    slot.name = names_.emplace_back(slot.name);
    slot_of_.emplace(slot.name, i);
  }
  written_.resize(layout_.slots.size());
  std::error_code error;
  fs::create_directories(directory_, error);
  if (error) io_error(directory_, "create the directory", error.value());
  vouched_ = (plan.flags & MOPT_WRITE_RESUME) != 0 && resume_files();
  if (!vouched_) create_files();
}

// All files are laid out under a name of their own first: a file called .partial is always whole.
void Writer::create_files() {
  for (const Shard& shard : layout_.shards) {
    for (const std::string& name : {shard.partial_name, shard.final_name}) {
      if (!fs::exists(path(name))) continue;
      throw Error(MOPT_FAILED_PRECONDITION,
                  path(name) +
                      ": expected no file of an earlier run, found one; continue that run "
                      "with --resume, or throw it away with --restart",
                  path(name));
    }
  }
  try {
    for (const Shard& shard : layout_.shards) {
      const std::string file = path(creating_name(shard));
      files_.emplace_back(open_file(file, O_RDWR | O_CREAT | O_TRUNC));
      files_.back().touched = true;
      const int fd = files_.back().descriptor.get();
      reserve(fd, file, shard.size);
      write_all(fd, file, reinterpret_cast<const std::byte*>(shard.head.data()), shard.head.size(),
                0);
    }
  } catch (...) {
    std::error_code ignored;
    for (const Shard& shard : layout_.shards)
      fs::remove(path(creating_name(shard)), ignored);
    throw;
  }
  for (const Shard& shard : layout_.shards) {
    rename_file(path(creating_name(shard)), path(shard.partial_name));
  }
}

// False when an earlier run left no file that can hold data, so there is nothing to continue.
bool Writer::resume_files() {
  const auto exists = [&](const std::string& name) { return fs::exists(path(name)); };
  const bool any = std::any_of(layout_.shards.begin(), layout_.shards.end(), [&](const Shard& s) {
    return exists(s.partial_name) || exists(s.final_name);
  });
  if (!any) return false;
  for (const Shard& shard : layout_.shards) {
    // A run that ended between two renames left one of the other names.
    if (!exists(shard.partial_name) && !exists(shard.final_name) && exists(creating_name(shard))) {
      rename_file(path(creating_name(shard)), path(shard.partial_name));
    }
    const std::string file =
        path(exists(shard.partial_name) ? shard.partial_name : shard.final_name);
    Descriptor handle = open_file(file, O_RDWR);
    if (!matches(handle.get(), shard)) {
      throw Error(MOPT_FAILED_PRECONDITION,
                  file + ": expected the unfinished file of this run, " +
                      std::to_string(shard.size) +
                      " bytes with the same header, found another; start again with --restart",
                  file);
    }
    files_.emplace_back(std::move(handle));
  }
  return true;
}

void Writer::write(std::string_view name, uint64_t offset, std::span<const std::byte> data) {
  const auto at = slot_of_.find(name);
  if (at == slot_of_.end()) {
    throw Error(MOPT_INVALID_ARGUMENT,
                "tensor " + in_quotes(name) +
                    ": expected a tensor of the write plan, found another name; declare it in the "
                    "plan",
                std::string(name));
  }
  const Slot& slot = layout_.slots[at->second];
  if (offset > slot.nbytes || data.size() > slot.nbytes - offset) {
    throw Error(MOPT_INVALID_ARGUMENT,
                "tensor " + in_quotes(name) + ": expected at most " + std::to_string(slot.nbytes) +
                    " bytes, found " + std::to_string(data.size()) + " at offset " +
                    std::to_string(offset) + "; write what the plan declares",
                std::string(name));
  }
  write_all(files_[slot.shard].descriptor.get(), path(layout_.shards[slot.shard].partial_name),
            data.data(), data.size(), slot.offset + offset);
  note_written(at->second, offset, data.size());
}

void Writer::note_written(size_t at, uint64_t offset, uint64_t bytes) {
  const Slot& slot = layout_.slots[at];
  OpenFile& file = files_[slot.shard];
  uint64_t begin = 0, end = 0;
  {
    const std::scoped_lock lock(mutex_);
    written_[at].add(offset, offset + bytes);
    file.touched = true;
    file.waiting += bytes;
    file.begin = std::min(file.begin, slot.offset + offset);
    file.end = std::max(file.end, slot.offset + offset + bytes);
    if (file.waiting < kWriteBackBytes) return;
    begin = file.begin, end = file.end;
    file.waiting = 0, file.begin = UINT64_MAX, file.end = 0;
  }
  start_write_back(file.descriptor.get(), begin, end);
}

// What is written while a file is flushed is for the next time.
void Writer::sync() {
  for (size_t i = 0; i < files_.size(); ++i) {
    {
      const std::scoped_lock lock(mutex_);
      if (!std::exchange(files_[i].touched, false)) continue;
    }
    try {
      flush(files_[i].descriptor.get(), path(layout_.shards[i].partial_name));
    } catch (...) {
      const std::scoped_lock lock(mutex_);
      files_[i].touched = true;
      throw;
    }
  }
}

void Writer::check_complete() const {
  for (size_t i = 0; i < written_.size(); ++i) {
    const Slot& slot = layout_.slots[i];
    if (written_[i].bytes() == slot.nbytes || (vouched_ && !written_[i].touched())) continue;
    throw Error(MOPT_FAILED_PRECONDITION,
                "tensor " + in_quotes(slot.name) + ": expected " + std::to_string(slot.nbytes) +
                    " bytes written before the commit, found " +
                    std::to_string(written_[i].bytes()) + "; write all of it first",
                std::string(slot.name));
  }
}

void Writer::write_index() const {
  const std::string name(kIndexName), partial = path(name + ".partial");
  const Descriptor file = open_file(partial, O_WRONLY | O_CREAT | O_TRUNC);
  write_all(file.get(), partial, reinterpret_cast<const std::byte*>(layout_.index.data()),
            layout_.index.size(), 0);
  flush(file.get(), partial);
  rename_file(partial, path(name));
}

void Writer::commit() {
  {
    const std::scoped_lock lock(mutex_);
    check_complete();
  }
  sync();
  for (const Shard& shard : layout_.shards) {
    if (fs::exists(path(shard.partial_name))) {
      rename_file(path(shard.partial_name), path(shard.final_name));
    }
  }
  if (!layout_.index.empty()) write_index();
  flush_directory(directory_);
}

}  // namespace mopt::safetensors
