// The directory that a run makes: DIR.partial while it is unfinished, held by one process, and DIR
// by one rename at the end.
#pragma once

#include <filesystem>
#include <string>

namespace mopt::pipeline {

enum class Unfinished { kRefuse, kResume, kRestart };  // what to do with DIR.partial
enum class Existing { kRefuse, kOverwrite };           // what to do with DIR

class OutputDirectory {
 public:
  // Throws Failure R104 (with the other process' id), R105, R106, R107, R108.
  OutputDirectory(const std::filesystem::path& dir, const std::filesystem::path& source, Unfinished,
                  Existing);
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
  // The last act: everything reaches the disk, then partial becomes final.
  void publish();

 private:
  void lock();
  std::filesystem::path final_, partial_;
  Existing existing_;
  int lock_ = -1;
};

}  // namespace mopt::pipeline
