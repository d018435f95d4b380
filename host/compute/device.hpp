// A device beside the CPU: its memory, its queues of work, its kernels. The CUDA one comes from a
// library of its own (host/compute/cuda), loaded when a driver and a device are there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "mopt/host.h"

namespace mopt::compute {

struct DeviceKernels;  // device_kernels.hpp
class Queue;

// Memory that goes back to where it was taken when the last owner lets go.
using Buffer = std::shared_ptr<std::byte>;

struct DeviceInfo {
  DLDeviceType type = kDLCUDA;
  int index = 0;
  std::string name;    // "NVIDIA H200"
  std::string driver;  // "CUDA 13.0"
  int capability = 0;  // 90 stands for 9.0
  int64_t total_bytes = 0;
};

struct MemoryUse {
  int64_t in_use = 0;  // bytes taken from the device, in buffers or kept for the next
  int64_t peak = 0;
  int64_t limit = 0;   // no more are taken
  int64_t room = 0;    // what can still be taken, by the limit and by what the device has left
  int64_t wanted = 0;  // bytes in use, had the last take that was refused been possible
};

// A point in a queue's work. [any thread]
class Event {
 public:
  virtual ~Event() = default;
  virtual bool passed() = 0;
  virtual void wait() = 0;  // the calling thread sleeps until it has passed
  // Of the device's time between two events of one queue, both passed.
  virtual double seconds_after(Event& earlier) = 0;
};
using EventPtr = std::shared_ptr<Event>;

class Device {
 public:
  virtual ~Device() = default;
  virtual const DeviceInfo& info() const = 0;
  virtual const DeviceKernels& kernels() const = 0;
  virtual std::unique_ptr<Queue> make_queue(const char* name) = 0;
  // Host memory that copies from and to the device need, from a page's start; kept and given out
  // again. Throws MOPT_OUT_OF_MEMORY.
  virtual Buffer take_pinned(int64_t bytes) = 0;
  virtual MemoryUse memory() const = 0;
  virtual void set_limit(int64_t bytes) = 0;
  // Gives memory that is kept, but not in use, back to the device.
  virtual void trim() = 0;
  // What makes a forward slow that could be had, in one sentence; empty: nothing. Loads libraries.
  virtual std::string slow_forward() const { return {}; }
  // Names what the calling thread does, for a profiler; scopes nest.
  virtual void begin_range(const char* name) = 0;
  virtual void end_range() = 0;
};

// Work that was recorded, with the memory that it took meanwhile, which stays its own. Its queue
// outlives it. [the thread of its queue]
class Graph {
 public:
  virtual ~Graph() = default;
  // Does the work once more, after what the queue has, on the memory and with the host's pinned
  // bytes that it names.
  virtual void launch() = 0;
};

// One ordered stream of work. Calls return before the work is done; what they name must stay alive
// until then. Errors of the work show at a later call, as MOPT_DEVICE. [one thread at a time]
class Queue {
 public:
  virtual ~Queue() = default;
  virtual Device& device() = 0;
  // Device memory for work of this queue: it may be let go while that work still runs, because
  // the next taker's work comes after it. Work of other queues with it must have passed. Throws
  // MOPT_OUT_OF_MEMORY with the bytes that are missing. [any thread]
  virtual Buffer take(int64_t bytes) = 0;
  // Either side may be pinned host memory. [any thread]
  virtual void copy(void* to, const void* from, int64_t bytes) = 0;
  virtual void zero(void* to, int64_t bytes) = 0;
  virtual EventPtr record() = 0;
  // Work from here on begins after the event.
  virtual void wait_for(const EventPtr&) = 0;
  // fn runs when all work so far is done, on a thread of the driver; it must not use the device.
  virtual void call(std::function<void()> fn) = 0;
  // Records what fn enqueues in place of doing it. fn takes memory, copies, sets and starts kernels
  // that ran before: no events, no call, no finish. What it throws is thrown on.
  virtual std::unique_ptr<Graph> capture(const std::function<void()>& fn) = 0;
  virtual void finish() = 0;   // the calling thread sleeps until all work is done
  virtual void* stream() = 0;  // CUstream
};

// A named scope on the calling thread; without a device, nothing.
class Range {
 public:
  Range(Device* device, const char* name) : device_(device) {
    if (device_ != nullptr) device_->begin_range(name);
  }
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;
  ~Range() {
    if (device_ != nullptr) device_->end_range();
  }

 private:
  Device* device_;
};

}  // namespace mopt::compute
