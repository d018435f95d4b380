// Time that several threads spend on something, added up.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace mopt::pipeline {

using Nanoseconds = std::atomic<int64_t>;

// Adds the time of its life to a total.
class Busy {
 public:
  explicit Busy(Nanoseconds& total) : total_(total) {}
  ~Busy() { total_ += std::chrono::nanoseconds(std::chrono::steady_clock::now() - start_).count(); }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;

 private:
  Nanoseconds& total_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

inline double seconds(const Nanoseconds& total) {
  return static_cast<double>(total.load()) * 1e-9;
}

}  // namespace mopt::pipeline
