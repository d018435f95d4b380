// The directory that a run makes: DIR.partial while it is unfinished, held by one process, and DIR
// by one rename at the end. A run that replaces DIR exchanges the two and then removes the old one;
// `mopt/replaces` says so on the way, whichever of the two names the new one has when a process is
// killed.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

namespace mopt::pipeline {

enum class Unfinished { kRefuse, kResume, kRestart };  // what to do with DIR.partial
enum class Existing { kRefuse, kOverwrite };           // what to do with DIR

// DIR as an absolute path without a slash at its end.
std::filesystem::path output_place(const std::filesystem::path& dir);

class OutputDirectory {
 public:
  // Completes an exchange of names that was killed before the old output was removed; false when
  // there is none. DIR is then finished. Throws Failure R104.
  static bool end_replacement(const std::filesystem::path& dir);

  // Throws Failure R104 (with the other process' id), R105, R106, R107, R108.
  OutputDirectory(const std::filesystem::path& dir, const std::filesystem::path& source, Unfinished,
                  Existing);
  // Removes the partial directory while nothing of a run stands there.
  ~OutputDirectory();
  OutputDirectory(const OutputDirectory&) = delete;
  OutputDirectory& operator=(const OutputDirectory&) = delete;

  const std::filesystem::path& final() const { return final_; }
  const std::filesystem::path& partial() const { return partial_; }
  std::filesystem::path own() const { return partial_ / "mopt"; }
  // Free bytes of the file system.
  uint64_t space() const;
  // Writes a text atomically (partial/name).
  void write(const std::string& name, std::string_view text) const;
  // Copies a file byte for byte (partial/name), atomically and in pieces.
  void copy(const std::string& name, const std::filesystem::path& from) const;
  // The last act: everything reaches the disk, then partial becomes final.
  void publish();

 private:
  // A directory that only one process may hold.
  class Lock {
   public:
    Lock() = default;
    // Throws Failure R104, R106.
    explicit Lock(const std::filesystem::path& directory);
    Lock(Lock&& o) noexcept : fd_(o.fd_) { o.fd_ = -1; }
    Lock& operator=(Lock&& o) noexcept {
      std::swap(fd_, o.fd_);
      return *this;
    }
    ~Lock();
    // False when another process renamed or removed the directory before it was locked.
    bool holds(const std::filesystem::path& directory) const;

   private:
    int fd_ = -1;
  };
  void begin();
  bool started() const;

  std::filesystem::path final_, partial_;
  Lock lock_;
  bool published_ = false;
};

}  // namespace mopt::pipeline
