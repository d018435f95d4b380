// Regions of a file that stand for memory which a device has no room for: their bytes pass through
// rings of pinned memory, read by threads ahead of whoever needs them, written by others behind.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "host/compute/device.hpp"
#include "host/pipeline/scratch_file.hpp"
#include "host/pipeline/slots.hpp"

namespace mopt::pipeline {

class ActivationDisk {
 public:
  struct Plan {
    std::filesystem::path file;
    std::vector<uint64_t> regions;  // bytes of each, whole pages
    uint64_t keep_free = 0;         // of the disk
    uint64_t piece_bytes = 0;       // of a read or write at the most
  };
  // Pinned memory of both rings together for regions of at most so many bytes.
  static uint64_t ring_bytes(uint64_t largest_region, uint64_t piece_bytes);

  // Throws as ScratchFile does, and MOPT_OUT_OF_MEMORY.
  ActivationDisk(compute::Device&, Plan);
  // Slots that were given out have come back.
  ~ActivationDisk();
  ActivationDisk(const ActivationDisk&) = delete;
  ActivationDisk& operator=(const ActivationDisk&) = delete;

  // The failure of a thread is thrown by all of these from then on. [one thread]
  //
  // Begins to read the first `bytes` of a region, once what was written to it is in the file.
  void request(size_t region, uint64_t bytes);
  // The pieces of the oldest request, in order of offset: waits for each.
  using Take = std::function<void(uint64_t offset, Slot&&)>;
  void receive(const Take&);
  // Pieces to be filled with the first `bytes` of a region: waits for a free slot of each, calls
  // `fill`, and writes what is there when the event has passed that it returns.
  using Fill = std::function<compute::EventPtr(uint64_t offset, std::span<std::byte>)>;
  void send(size_t region, uint64_t bytes, const Fill& fill);
  // At once, through memory of the caller's: pages. They wait for what is under way.
  void read(size_t region, std::span<std::byte>);
  void write(size_t region, std::span<const std::byte>);

 private:
  struct Read {
    size_t region;
    uint64_t offset;
    size_t size;
    Slot slot;
    bool done = false;
  };
  struct Write {
    size_t region;
    uint64_t offset;
    Slot slot;
    compute::EventPtr filled;
  };
  struct Ring {
    Ring(compute::Device&, size_t slot_bytes, size_t count);
    compute::Buffer memory;
    SlotRing slots;
  };
  void read_all();
  void write_all();
  void fail(std::exception_ptr);
  void check() const;
  void wait_written(size_t region);

  std::vector<uint64_t> start_;  // of each region in the file
  const size_t piece_bytes_;
  ScratchFile file_;
  Ring in_, out_;
  std::mutex taking_;  // slots are given to reads in the order of these
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Read>> to_read_, requested_;
  std::deque<size_t> pieces_;  // of each request
  std::deque<Write> to_write_;
  std::vector<size_t> unwritten_;  // pieces of each region
  std::exception_ptr failure_;
  bool ended_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace mopt::pipeline
