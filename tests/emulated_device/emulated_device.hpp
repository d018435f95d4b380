// A device without hardware, for tests of what drives one: its memory is host memory that only its
// work can reach, its queues run their work at once or on a thread of their own, its kernels are
// the reference kernels or those of the CUDA part, emulated. What a real device would not survive,
// or would answer with other bytes now and then, is an error here every time:
//
//   * a copy or a kernel whose memory was not taken, was let go, or is pageable
//   * host code that touches device memory (SIGSEGV), a write beyond the end of a block
//   * use of fresh memory: it holds NaN in every type of float, and so does what was let go
//   * pinned memory that is let go while work with it is still to come
//   * a callback of Queue::call that uses the device
//   * a capture of what cannot be recorded
//
// It can be told to get lost (Fault), as a CUDA device does after an illegal access.
// What is found after the fact is a complaint: it fails the next call of any queue, and stays in
// complaints(), which a test looks at in the end.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "host/compute/device_kernels.hpp"

namespace mopt::compute::test {

// Tables of one row each ("nll.emulated"): the reference kernels. Products of codes that tensor
// cores could have taken have a row of their own before it ("linear.emulated_codes").
const DeviceKernels& reference_kernels();

enum class WorkMode {
  kAtOnce,    // done when the call returns
  kOnThread,  // in order, on a thread of the queue: what forgets to wait shows
};
enum class Reach {
  kWorkOnly,  // device memory is closed to the host's own code
  kAnybody,  // open: for work that does not go through a queue, such as a plugin's emulated kernels
};

// What of a device's work, or of the calls that wait for it, is counted.
enum class Counted { kWork, kKernel, kCopy, kWait };
// After `after` of those the device is lost: that one is not done, nor is any later one, callbacks
// are not called any more, and every call fails.
struct Fault {
  Counted of = Counted::kWork;
  int64_t after = -1;  // negative: never
  std::string what = "it was lost";
};

struct EmulatedOptions {
  int64_t bytes = int64_t{256} << 20;
  WorkMode work = WorkMode::kAtOnce;
  Reach reach = Reach::kWorkOnly;
  const DeviceKernels* kernels = &reference_kernels();
  Fault fault = {};
  int64_t pinned_bytes = INT64_MAX;  // that the host has to pin
  int capability = 90;               // 90 stands for 9.0
};

// Blocks of one range of addresses, with a guard behind each.
class Arena {
 public:
  explicit Arena(int64_t bytes);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // NULL: no gap is large enough.
  std::byte* take(int64_t bytes);
  // False: something was written behind its end.
  bool release(std::byte*);
  // Whether [p, p + bytes) lies within one block that is taken.
  bool holds(const void* p, int64_t bytes) const;
  void open();
  void close();

 private:
  struct Block {
    int64_t bytes, room;  // room: with the guard
  };
  int64_t find_gap(int64_t room) const;
  std::byte* base_ = nullptr;
  int64_t size_;
  int64_t cursor_ = 0;  // gaps are searched from here, so that memory is reused late
  std::map<int64_t, Block> blocks_;
};

class EmulatedQueue;

// Outlives its queues and all memory that was taken from it.
class EmulatedDevice final : public Device {
 public:
  explicit EmulatedDevice(EmulatedOptions options = {});
  const DeviceInfo& info() const override { return info_; }
  const DeviceKernels& kernels() const override { return *options_.kernels; }
  std::unique_ptr<Queue> make_queue(const char* name) override;
  Buffer take_pinned(int64_t bytes) override;
  MemoryUse memory() const override;
  void set_limit(int64_t bytes) override;
  void trim() override {}
  void begin_range(const char* name) override;
  void end_range() override;

  // What went wrong behind the caller's back, in order.
  std::vector<std::string> complaints() const;
  int64_t pinned_bytes() const;  // taken at present
  int64_t works() const;         // done so far, of all queues
  // Copies device memory to the host's, wherever that lies; for looking at results. All queues have
  // to be finished.
  void read(void* to, const void* device, int64_t bytes);

  // Throws unless the range is device or pinned memory that is taken.
  void require_taken(const void* p, int64_t bytes, const char* what) const;
  void require_device_memory(const void* p, int64_t bytes, const char* what) const;

 private:
  friend class EmulatedQueue;
  // Runs one piece of work with the memory open; an error of it loses the device.
  void run(Counted kind, const std::function<void()>& work);
  void count_wait();
  // Loses the device where the options say so. Locked.
  void count(Counted kind);
  bool is_lost() const;
  void complain(std::string what);
  // Throws when the device is lost.
  void check_alive() const;
  // Throws when the device is lost, or there is a complaint that nobody was told of.
  void check() const;
  bool in_pinned(const void* p, int64_t bytes) const;
  // The queue of a block of memory, as long as there is one.
  struct QueueLife {
    std::mutex mutex;
    EmulatedQueue* queue = nullptr;
  };
  Buffer take(int64_t bytes, const std::shared_ptr<QueueLife>&);
  void let_go(std::byte* block, int64_t bytes, QueueLife&);
  void release(std::byte* block, int64_t bytes);
  void open();
  void close();

  const EmulatedOptions options_;
  DeviceInfo info_;
  mutable std::mutex mutex_;  // of all below
  Arena arena_;
  MemoryUse use_;
  std::map<const std::byte*, int64_t> pinned_;
  int64_t pinned_bytes_ = 0, works_ = 0, open_ = 0;
  std::map<Counted, int64_t> counts_;
  std::vector<std::string> complaints_;
  mutable size_t told_ = 0;  // complaints that a call has thrown
  std::optional<std::string> lost_;
  std::mutex running_;  // one piece of work at a time
};

class EmulatedQueue final : public Queue {
 public:
  explicit EmulatedQueue(EmulatedDevice&);
  ~EmulatedQueue() override;
  Device& device() override { return device_; }
  Buffer take(int64_t bytes) override;
  void copy(void* to, const void* from, int64_t bytes) override;
  void zero(void* to, int64_t bytes) override;
  EventPtr record() override;
  void wait_for(const EventPtr&) override;
  void call(std::function<void()> fn) override;
  std::unique_ptr<Graph> capture(const std::function<void()>& fn) override;
  void finish() override;
  void* stream() override { return this; }

  // `work` reads and writes device memory.
  void submit(std::function<void()> work) { submit(Counted::kKernel, std::move(work)); }

 private:
  friend class EmulatedDevice;
  void submit(Counted kind, std::function<void()> work);
  void refuse_capture() const;
  // In order with all else, outside of the device: it may wait.
  void enqueue(std::function<void()> step);
  void serve();

  EmulatedDevice& device_;
  std::shared_ptr<EmulatedDevice::QueueLife> life_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> steps_;
  int64_t enqueued_ = 0, done_ = 0;
  bool ended_ = false;
  std::thread thread_;
  class Recorded;
  Recorded* recording_ = nullptr;  // while capture runs
};

inline EmulatedQueue& emulated_queue(Queue& queue) {
  return static_cast<EmulatedQueue&>(queue);
}

}  // namespace mopt::compute::test
