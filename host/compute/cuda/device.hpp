// The CUDA device: one pool of memory with a budget, queues on streams, pinned host memory.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>

#include "host/compute/device.hpp"

namespace mopt::compute::cuda {

class CudaQueue;

// Blocks of memory that are given out again, by size. Not locked.
class FreeBlocks {
 public:
  // A block of at least `bytes` that wastes less than an eighth; null: none.
  std::byte* take(int64_t bytes, int64_t& size);
  void put(std::byte* block, int64_t size) { blocks_.emplace(size, block); }
  // Calls fn(block, size) for all and forgets them.
  void drain(const std::function<void(std::byte*, int64_t)>& fn);
  // Takes over those of `from` for which fn(block) is true.
  void take_over(FreeBlocks& from, const std::function<bool(std::byte*)>& fn);

 private:
  std::multimap<int64_t, std::byte*> blocks_;
};

// Memory taken from the device and not given back to it.
class Pool {
 public:
  explicit Pool(int64_t limit) { use_.limit = limit; }
  Buffer take(const std::shared_ptr<FreeBlocks>& blocks, int64_t bytes);
  // A block that is given back to the device when it is let go, in the stream's order: kept, it
  // would fit hardly anybody.
  Buffer take_huge(cudaStream_t stream, int64_t bytes);
  void trim();
  // Gives all of these back to the device.
  void drop(FreeBlocks&);
  MemoryUse use() const;
  void set_limit(int64_t bytes);
  void add(const std::shared_ptr<FreeBlocks>&);
  // Moves blocks for which fn(block) is true.
  void move(FreeBlocks& from, FreeBlocks& to, const std::function<bool(std::byte*)>& fn);

 private:
  std::byte* allocate(int64_t size, int64_t wanted);
  void trim_locked();
  void drop_locked(FreeBlocks&);
  [[noreturn]] void lack(int64_t wanted);
  mutable std::mutex mutex_;
  MemoryUse use_;
  std::vector<std::weak_ptr<FreeBlocks>> queues_;
};

class CudaDevice final : public Device {
 public:
  explicit CudaDevice(DeviceInfo info);
  const DeviceInfo& info() const override { return info_; }
  const DeviceKernels& kernels() const override;
  std::unique_ptr<Queue> make_queue(const char* name) override;
  Buffer take_pinned(int64_t bytes) override;
  MemoryUse memory() const override {
    use();
    return pool_->use();
  }
  void set_limit(int64_t bytes) override { pool_->set_limit(bytes); }
  void trim() override;
  std::string slow_forward() const override;
  void begin_range(const char* name) override;
  void end_range() override;

  // Makes this device the calling thread's.
  void use() const { cudaSetDevice(info_.index); }
  const std::shared_ptr<Pool>& pool() const { return pool_; }

 private:
  struct Pinned {
    std::mutex mutex;
    FreeBlocks free;
  };
  DeviceInfo info_;
  std::shared_ptr<Pool> pool_;
  std::shared_ptr<Pinned> pinned_;
};

class CudaQueue final : public Queue {
 public:
  CudaQueue(CudaDevice& device, const char* name);
  ~CudaQueue() override;
  Device& device() override { return device_; }
  Buffer take(int64_t bytes) override;
  void copy(void* to, const void* from, int64_t bytes) override;
  void zero(void* to, int64_t bytes) override;
  EventPtr record() override;
  void wait_for(const EventPtr&) override;
  void call(std::function<void()> fn) override;
  std::unique_ptr<Graph> capture(const std::function<void()>& fn) override;
  void finish() override;
  void* stream() override { return stream_; }

  cudaStream_t cuda_stream() const { return stream_; }
  // Made at the first use, for products of this queue.
  cublasLtHandle_t cublas();
  // Working memory of library calls, one after the other; at least `bytes`.
  void* workspace(int64_t bytes);

 private:
  friend class CudaGraph;
  // What a capture takes its memory from, and what it took.
  struct Capture {
    std::shared_ptr<FreeBlocks> blocks;
    std::set<std::byte*> taken;
  };
  void refuse_capture(const char* what) const;

  CudaDevice& device_;
  std::shared_ptr<FreeBlocks> blocks_;
  std::optional<Capture> capture_;  // while it runs
  cudaStream_t stream_ = nullptr;
  cublasLtHandle_t cublas_ = nullptr;
  Buffer workspace_;
  int64_t workspace_bytes_ = 0;
};

inline CudaQueue& cuda_queue(Queue& queue) {
  return static_cast<CudaQueue&>(queue);
}
inline cudaStream_t stream_of(Queue& queue) {
  return static_cast<cudaStream_t>(queue.stream());
}

}  // namespace mopt::compute::cuda
