#include "host/compute/cuda/device.hpp"

#include <nvtx3/nvToolsExtCudaRt.h>

#include <algorithm>
#include <vector>

#include "host/compute/cuda/check.hpp"
#include "host/compute/large_pages.hpp"
#include "host/compute/memory_rules.hpp"

namespace mopt::compute::cuda {
namespace {

int64_t rounded(int64_t bytes) {
  return block_bytes(kCudaMemory, bytes);
}

// Null where the system or the driver does not do that.
std::byte* pin_large_pages(size_t size) {
  std::byte* const block = map_large_pages(size);
  if (block == nullptr) return nullptr;
  if (cudaHostRegister(block, size, cudaHostRegisterPortable) == cudaSuccess) return block;
  cudaGetLastError();  // not sticky: the next call shall not see it
  unmap_large_pages(block, size);
  return nullptr;
}

// Memory of the process that the device copies from and to. What the driver makes itself it makes
// page by page, which takes it half a second for a gigabyte.
std::byte* pin(int64_t bytes) {
  const auto size = static_cast<size_t>(bytes);
  if (size % kLargePage == 0) {
    if (std::byte* const block = pin_large_pages(size)) return block;
  }
  void* block = nullptr;
  check(cudaHostAlloc(&block, size, cudaHostAllocPortable), "host memory cannot be pinned");
  return static_cast<std::byte*>(block);
}

void unpin(std::byte* block, int64_t bytes) {
  const auto size = static_cast<size_t>(bytes);
  if (size % kLargePage == 0 && cudaHostUnregister(block) == cudaSuccess)
    return unmap_large_pages(block, size);
  cudaGetLastError();
  cudaFreeHost(block);
}

std::string mib(int64_t bytes) {
  return std::to_string((bytes + (int64_t{1} << 20) - 1) >> 20) + " MiB";
}

class CudaEvent final : public Event {
 public:
  CudaEvent(const CudaDevice& device, cudaStream_t stream) : device_(device) {
    check(cudaEventCreateWithFlags(&event_, cudaEventBlockingSync), "an event cannot be made");
    const cudaError_t status = cudaEventRecord(event_, stream);
    if (status == cudaSuccess) return;
    cudaEventDestroy(event_);
    check(status, "an event cannot be recorded");
  }
  ~CudaEvent() override { cudaEventDestroy(event_); }
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;
  bool passed() override {
    device_.use();
    const cudaError_t status = cudaEventQuery(event_);
    if (status == cudaErrorNotReady) return false;
    check(status, "the device failed");
    return true;
  }
  void wait() override {
    device_.use();
    check(cudaEventSynchronize(event_), "the device failed");
  }
  double seconds_after(Event& earlier) override {
    device_.use();
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, static_cast<CudaEvent&>(earlier).event_, event_),
          "the device's time is not known");
    return milliseconds * 1e-3;
  }
  cudaEvent_t get() const { return event_; }

 private:
  const CudaDevice& device_;
  cudaEvent_t event_ = nullptr;
};

// While it lives, calls of this thread that touch no stream are allowed although one records.
class OutsideOfCapture {
 public:
  OutsideOfCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  ~OutsideOfCapture() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  OutsideOfCapture(const OutsideOfCapture&) = delete;
  OutsideOfCapture& operator=(const OutsideOfCapture&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

// Between begin and end only this thread's calls are watched.
cudaGraph_t record_work(cudaStream_t stream, const std::function<void()>& fn) {
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal),
        "a stream cannot record its work");
  std::exception_ptr failure;
  try {
    fn();
  } catch (...) {
    failure = std::current_exception();
  }
  cudaGraph_t graph = nullptr;
  const cudaError_t status = cudaStreamEndCapture(stream, &graph);
  if (failure) {
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaGetLastError();  // not sticky: the next call shall not see it
    std::rethrow_exception(failure);
  }
  check(status, "the device's work cannot be recorded");
  return graph;
}

}  // namespace

// Its blocks are in no list of the pool: nobody else gets them, and none is given back.
class CudaGraph final : public Graph {
 public:
  CudaGraph(CudaQueue& queue, cudaGraph_t graph, std::shared_ptr<FreeBlocks> blocks)
      : queue_(queue), blocks_(std::move(blocks)), workspace_(queue.workspace_) {
    const cudaError_t status = cudaGraphInstantiate(&work_, graph, 0);
    cudaGraphDestroy(graph);
    if (status != cudaSuccess) give_back();
    check(status, "recorded work cannot be prepared");
  }
  ~CudaGraph() override {
    queue_.device_.use();
    cudaStreamSynchronize(queue_.stream_);
    cudaGraphExecDestroy(work_);
    give_back();
  }
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;
  void launch() override {
    queue_.device_.use();
    check(cudaGraphLaunch(work_, queue_.stream_), "recorded work cannot be started");
  }

 private:
  void give_back() {
    queue_.device_.pool()->move(*blocks_, *queue_.blocks_, [](std::byte*) { return true; });
  }
  CudaQueue& queue_;
  std::shared_ptr<FreeBlocks> blocks_;
  Buffer workspace_;  // of library calls that were recorded
  cudaGraphExec_t work_ = nullptr;
};

std::byte* FreeBlocks::take(int64_t bytes, int64_t& size) {
  const auto found = blocks_.lower_bound(bytes);
  if (found == blocks_.end() || found->first > largest_block_for(bytes)) return nullptr;
  std::byte* block = found->second;
  size = found->first;
  blocks_.erase(found);
  return block;
}

void FreeBlocks::drain(const std::function<void(std::byte*, int64_t)>& fn) {
  for (const auto& [size, block] : blocks_)
    fn(block, size);
  blocks_.clear();
}

void FreeBlocks::take_over(FreeBlocks& from, const std::function<bool(std::byte*)>& fn) {
  for (auto it = from.blocks_.begin(); it != from.blocks_.end();) {
    const auto here = it++;
    if (fn(here->second)) blocks_.insert(from.blocks_.extract(here));
  }
}

void Pool::add(const std::shared_ptr<FreeBlocks>& blocks) {
  const std::lock_guard lock(mutex_);
  std::erase_if(queues_, [](const auto& known) { return known.expired(); });
  queues_.push_back(blocks);
}

void Pool::move(FreeBlocks& from, FreeBlocks& to, const std::function<bool(std::byte*)>& fn) {
  const std::lock_guard lock(mutex_);
  to.take_over(from, fn);
}

MemoryUse Pool::use() const {
  size_t free = 0, total = 0;
  cudaMemGetInfo(&free, &total);
  const std::lock_guard lock(mutex_);
  MemoryUse use = use_;
  use.room = std::max<int64_t>(0, std::min(use.limit - use.in_use, static_cast<int64_t>(free)));
  return use;
}

void Pool::set_limit(int64_t bytes) {
  const std::lock_guard lock(mutex_);
  use_.limit = bytes;
}

void Pool::trim() {
  const std::lock_guard lock(mutex_);
  trim_locked();
}

void Pool::drop(FreeBlocks& blocks) {
  const std::lock_guard lock(mutex_);
  drop_locked(blocks);
}

void Pool::trim_locked() {
  for (const auto& known : queues_) {
    if (const auto blocks = known.lock()) drop_locked(*blocks);
  }
}

// cudaFree waits for the work that may still use a block.
void Pool::drop_locked(FreeBlocks& blocks) {
  blocks.drain([&](std::byte* block, int64_t size) {
    cudaFree(block);
    use_.in_use -= size;
  });
}

std::byte* Pool::allocate(int64_t size, int64_t wanted) {
  void* block = nullptr;
  const OutsideOfCapture outside;
  for (const bool last : {false, true}) {
    if (use_.in_use + size <= use_.limit) {
      const cudaError_t status = cudaMalloc(&block, static_cast<size_t>(size));
      if (status == cudaSuccess) {
        use_.in_use += size;
        use_.peak = std::max(use_.peak, use_.in_use);
        return static_cast<std::byte*>(block);
      }
      cudaGetLastError();  // not sticky: the next call shall not see it
      if (status != cudaErrorMemoryAllocation) check(status, "device memory cannot be taken");
    }
    if (!last) trim_locked();
  }
  lack(wanted);
}

void Pool::lack(int64_t wanted) {
  use_.wanted = use_.in_use + wanted;
  size_t free = 0, total = 0;
  cudaMemGetInfo(&free, &total);
  const int64_t room = std::min(use_.limit - use_.in_use, static_cast<int64_t>(free));
  throw Error(MOPT_OUT_OF_MEMORY, "expected " + mib(wanted) + " more on the device, where " +
                                      mib(use_.in_use) + " are in use and " +
                                      mib(std::max<int64_t>(0, room)) + " are left");
}

Buffer Pool::take(const std::shared_ptr<FreeBlocks>& blocks, int64_t bytes) {
  int64_t size = rounded(bytes);
  std::byte* block = nullptr;
  {
    const std::lock_guard lock(mutex_);
    block = blocks->take(size, size);
    if (block == nullptr) block = allocate(size, bytes);
  }
  return Buffer(block, [this, known = std::weak_ptr(blocks), size](std::byte* p) {
    const std::lock_guard lock(mutex_);
    if (const auto alive = known.lock()) return alive->put(p, size);
    cudaFree(p);
    use_.in_use -= size;
  });
}

Buffer Pool::take_huge(cudaStream_t stream, int64_t bytes) {
  const int64_t size = rounded(bytes);
  void* block = nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (use_.in_use + size > use_.limit) trim_locked();
    if (use_.in_use + size > use_.limit) lack(bytes);
    const cudaError_t status = cudaMallocAsync(&block, static_cast<size_t>(size), stream);
    if (status != cudaSuccess) {
      cudaGetLastError();
      if (status == cudaErrorMemoryAllocation) lack(bytes);
      check(status, "device memory cannot be taken");
    }
    use_.in_use += size;
    use_.peak = std::max(use_.peak, use_.in_use);
  }
  int device = 0;
  cudaGetDevice(&device);
  return Buffer(static_cast<std::byte*>(block), [this, stream, size, device](std::byte* p) {
    cudaSetDevice(device);
    cudaFreeAsync(p, stream);
    const std::lock_guard lock(mutex_);
    use_.in_use -= size;
  });
}

CudaDevice::CudaDevice(DeviceInfo info)
    : info_(std::move(info)),
      pool_(std::make_shared<Pool>(info_.total_bytes)),
      pinned_(std::make_shared<Pinned>()) {}

std::unique_ptr<Queue> CudaDevice::make_queue(const char* name) {
  return std::make_unique<CudaQueue>(*this, name);
}

Buffer CudaDevice::take_pinned(int64_t bytes) {
  use();
  int64_t size = rounded(bytes);
  std::byte* block = nullptr;
  {
    const std::lock_guard lock(pinned_->mutex);
    block = pinned_->free.take(size, size);
  }
  if (block == nullptr) block = pin(size);
  return Buffer(block, [pinned = pinned_, size](std::byte* p) {
    const std::lock_guard lock(pinned->mutex);
    pinned->free.put(p, size);
  });
}

void CudaDevice::trim() {
  use();
  pool_->trim();
  const std::lock_guard lock(pinned_->mutex);
  pinned_->free.drain(unpin);
}

void CudaDevice::begin_range(const char* name) {
  nvtxRangePushA(name);
}
void CudaDevice::end_range() {
  nvtxRangePop();
}

CudaQueue::CudaQueue(CudaDevice& device, const char* name)
    : device_(device), blocks_(std::make_shared<FreeBlocks>()) {
  device_.use();
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "a stream cannot be made");
  nvtxNameCudaStreamA(stream_, name);
  device_.pool()->add(blocks_);
}

CudaQueue::~CudaQueue() {
  device_.use();
  cudaStreamSynchronize(stream_);
  workspace_.reset();
  if (cublas_ != nullptr) cublasLtDestroy(cublas_);
  cudaStreamDestroy(stream_);
  device_.pool()->drop(*blocks_);  // the other queues' would wait for their work
}

Buffer CudaQueue::take(int64_t bytes) {
  device_.use();
  if (bytes >= kCudaMemory.huge && !capture_) return device_.pool()->take_huge(stream_, bytes);
  if (!capture_) return device_.pool()->take(blocks_, bytes);
  Buffer taken = device_.pool()->take(capture_->blocks, bytes);
  capture_->taken.insert(taken.get());
  return taken;
}

void CudaQueue::copy(void* to, const void* from, int64_t bytes) {
  if (bytes == 0) return;
  device_.use();
  check(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDefault, stream_),
        "a copy failed");
}

void CudaQueue::zero(void* to, int64_t bytes) {
  if (bytes == 0) return;
  device_.use();
  check(cudaMemsetAsync(to, 0, static_cast<size_t>(bytes), stream_), "device memory is not set");
}

EventPtr CudaQueue::record() {
  refuse_capture("an event");
  device_.use();
  return std::make_shared<CudaEvent>(device_, stream_);
}

void CudaQueue::wait_for(const EventPtr& event) {
  refuse_capture("another queue's event");
  device_.use();
  check(cudaStreamWaitEvent(stream_, static_cast<CudaEvent&>(*event).get(), 0),
        "a stream cannot wait");
}

void CudaQueue::call(std::function<void()> fn) {
  refuse_capture("a callback");
  device_.use();
  auto held = std::make_unique<std::function<void()>>(std::move(fn));
  const auto run = [](void* data) {
    const std::unique_ptr<std::function<void()>> mine(static_cast<std::function<void()>*>(data));
    (*mine)();
  };
  check(cudaLaunchHostFunc(stream_, run, held.get()), "a stream cannot call back");
  held.release();
}

void CudaQueue::refuse_capture(const char* what) const {
  if (!capture_) return;
  throw Error(MOPT_INTERNAL, std::string("a capture cannot record ") + what);
}

std::unique_ptr<Graph> CudaQueue::capture(const std::function<void()>& fn) {
  device_.use();
  refuse_capture("another one");
  Pool& pool = *device_.pool();
  const auto blocks = std::make_shared<FreeBlocks>();
  // What lies ready is used first; what stays untouched goes back.
  pool.move(*blocks_, *blocks, [](std::byte*) { return true; });
  capture_.emplace(Capture{blocks, {}});
  const auto end = [&](bool keep) {
    const std::set<std::byte*> taken = keep ? std::move(capture_->taken) : std::set<std::byte*>();
    capture_.reset();
    pool.move(*blocks, *blocks_, [&](std::byte* block) { return !taken.contains(block); });
  };
  cudaGraph_t graph = nullptr;
  try {
    graph = record_work(stream_, fn);
  } catch (...) {
    end(false);
    throw;
  }
  end(true);
  return std::make_unique<CudaGraph>(*this, graph, blocks);
}

void CudaQueue::finish() {
  refuse_capture("the end of its work");
  device_.use();
  check(cudaStreamSynchronize(stream_), "the device failed");
}

cublasLtHandle_t CudaQueue::cublas() {
  if (cublas_ == nullptr && cublasLtCreate(&cublas_) != CUBLAS_STATUS_SUCCESS) {
    cublas_ = nullptr;
    throw Error(MOPT_DEVICE, "cuBLASLt cannot be started; is the device's memory full?");
  }
  return cublas_;
}

void* CudaQueue::workspace(int64_t bytes) {
  if (bytes > workspace_bytes_) {
    workspace_.reset();
    workspace_bytes_ = 0;
    workspace_ = take(bytes);
    workspace_bytes_ = bytes;
  }
  return workspace_.get();
}

}  // namespace mopt::compute::cuda
