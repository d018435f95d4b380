// The journal of an unfinished run: what it was started with, and each finished unit with
// everything that the report will say of it. One JSON line each; a line that a crash cut off is as
// if it were not there.
#pragma once

#include <filesystem>
#include <fstream>
#include <future>
#include <map>
#include <string>
#include <vector>

#include "host/report/report.hpp"

namespace mopt::pipeline {

// Names of inputs ("recipe", "model", "plugin nvfp4.so", ...) and their hashes.
using Fingerprint = std::map<std::string, std::string>;

struct UnitRecord {
  std::string unit;
  std::string xxh128;  // of the unit's output bytes, in order
  std::vector<Report::Layer> layers;
  std::vector<LedgerEntry> ledger;
  std::vector<Diagnostic> warnings;
};

class Journal {
 public:
  // A journal that starts now. Its first line is written with the first unit, or by begin(): a run
  // reads and computes while its inputs are still being looked at.
  Journal(const std::filesystem::path& file, std::shared_future<Fingerprint>);
  // The one that an interrupted run left; it is continued. Throws Failure J102 when it is damaged,
  // J101 naming what changed since when `now` differs.
  static Journal resume(const std::filesystem::path& file, const Fingerprint& now);
  // True when the file holds a complete first line.
  static bool usable(const std::filesystem::path& file);

  const std::vector<UnitRecord>& finished() const { return finished_; }
  bool has(const std::string& unit) const;
  // On the disk when they return. Both throw what the fingerprint's maker threw.
  void begin();
  void append(UnitRecord);

 private:
  Journal() = default;
  void open(const std::filesystem::path& file);
  void write_line(const std::string&);
  struct Closer {
    int fd = -1;
    Closer() = default;
    explicit Closer(int f) : fd(f) {}
    Closer(Closer&& o) noexcept : fd(o.fd) { o.fd = -1; }
    Closer& operator=(Closer&& o) noexcept {
      std::swap(fd, o.fd);
      return *this;
    }
    ~Closer();
  };
  Closer file_;
  std::shared_future<Fingerprint> beginning_;  // until it is written
  std::filesystem::path path_;
  std::vector<UnitRecord> finished_;
};

}  // namespace mopt::pipeline
