// What a run does when, and what it waits for: spans of its phases, from its threads and from the
// device.
#pragma once

#include <array>
#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "host/compute/device.hpp"
#include "host/report/report.hpp"

namespace mopt::pipeline {

// In the order of the report's lanes. A wait is one of the loop's thread, for what another does.
enum class Phase {
  kRead,
  kHash,
  kCopyIn,
  kForward,
  kSolve,
  kEncode,
  kCopyOut,
  kWrite,
  kSync,
  kVerify,
  kEval,
  kWaitRead,
  kWaitDevice,
  kWaitWrite,
};
inline constexpr size_t kPhases = 14;

// Seconds since the run began.
struct Interval {
  double begin = 0, end = 0;
  friend bool operator==(const Interval&, const Interval&) = default;
};

// Stretches of time, in order and without overlap. Beyond a number of them, the closest are joined:
// memory stays small, the measure becomes an upper bound.
class Intervals {
 public:
  static constexpr size_t kMost = 256;
  void add(Interval);
  double measure() const;
  const std::vector<Interval>& all() const { return all_; }

 private:
  std::vector<Interval> all_;
};

// A stretch of one lane and whose work it was.
struct Stretch {
  std::string_view unit;
  Interval at;
  Phase phase = Phase::kRead;
};
// Of one lane, disjoint and in order, at most `most`: what overlaps is cut, neighbours of one unit
// are joined over gaps that nobody sees, then any that are close. `total`: seconds of the run.
std::vector<Report::Timeline::Span> merged(std::vector<Stretch>, size_t most, double total);

class Timeline {
 public:
  // Seconds count from now on. The calling thread is the loop's: only its waits count. `device`:
  // whom the ranges of scopes are told; NULL: the CPU.
  explicit Timeline(compute::Device* device = nullptr) : device_(device) {}
  Timeline(const Timeline&) = delete;
  Timeline& operator=(const Timeline&) = delete;

  // The phase that the calling thread is in until the end of the scope, for the report and for a
  // profiler. A scope of the loop's thread within another one interrupts that one.
  class Scope {
   public:
    // `unit` outlives the timeline. Without a timeline nobody looks.
    Scope(Timeline*, Phase, std::string_view unit = {});
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    void pause(double now);
    Timeline* timeline_;
    Phase phase_;
    std::string_view unit_;
    double begin_ = 0;
    Scope* outer_ = nullptr;
    std::string name_;
    std::optional<compute::Range> range_;
  };

  double now() const;
  // What was measured elsewhere. [any thread, also in a queue's callback]
  void add(Phase, std::string_view unit, Interval);
  // Likewise, by the device's clock: it was busy.
  void add_on_device(Phase, std::string_view unit, Interval);
  void begin_loop();
  void end_loop();

  // Seconds in which at least one thread, or the device, was in the phase.
  double busy(Phase) const;
  // Of the run so far.
  Report::Timeline report() const;

 private:
  bool on_loop_thread() const { return std::this_thread::get_id() == loop_thread_; }
  double within_loop(Phase) const;
  std::string text(const Report::Timeline&) const;

  compute::Device* device_;
  const std::thread::id loop_thread_ = std::this_thread::get_id();
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  Scope* open_ = nullptr;  // the innermost of the loop's thread
  Interval loop_;          // likewise of that thread
  mutable std::mutex mutex_;
  std::array<std::map<std::string_view, Intervals>, kPhases> phases_;
  Intervals device_busy_;
};

// A range's name for a profiler: "read model.layers.3".
std::string range_name(Phase, std::string_view unit);

// Times of one queue's work in seconds of a timeline. [one thread at a time]
class DeviceClock {
 public:
  // Waits for what the queue has to do.
  DeviceClock(Timeline&, compute::Queue&);
  // The work between two of its events, which have passed.
  void add(Phase, std::string_view unit, compute::Event& begin, compute::Event& end);
  // What is enqueued from here on is of this phase; until leave(), whose event ends the last one.
  void enter(Phase);
  compute::EventPtr leave();
  // All of it has passed, and was a unit's.
  void tell(std::string_view unit);

 private:
  struct Mark {
    Phase phase;  // from here on
    compute::EventPtr event;
  };
  Timeline& timeline_;
  compute::Queue& queue_;
  compute::EventPtr start_;
  double at_;
  std::vector<Mark> marks_;
  compute::EventPtr end_;
};

}  // namespace mopt::pipeline
