#include "tests/emulated_device/emulated_device.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>

namespace mopt::compute::test {
namespace {

constexpr int64_t kAlignment = 512;
// Gaps are searched from the last block on, up to here: opening and closing the arena takes time
// for every page that was ever touched.
constexpr int64_t kLap = int64_t{8} << 20;
constexpr int kPoison = 0xFF;  // NaN in f32, bf16 and f16
constexpr int kGuard = 0xFB;

// Set while a callback of Queue::call runs on this thread.
thread_local bool in_callback = false;

void refuse_callback() {
  if (!in_callback) return;
  throw Error(MOPT_INTERNAL, "a callback of a queue uses the device, which CUDA forbids");
}

int64_t rounded(int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// Functions that a lost device never calls: what they hold stays held, as with CUDA.
void never_call(std::function<void()> fn) {
  static std::mutex mutex;
  static auto* const kept = new std::vector<std::function<void()>>;
  const std::lock_guard lock(mutex);
  kept->push_back(std::move(fn));
}

class EmulatedEvent final : public Event {
 public:
  EmulatedEvent(std::function<void()> check, std::function<void()> count_wait)
      : check_(std::move(check)), count_wait_(std::move(count_wait)) {}
  bool passed() override {
    refuse_callback();
    check_();
    const std::lock_guard lock(mutex_);
    return passed_;
  }
  void wait() override {
    refuse_callback();
    arrive();
    count_wait_();
    check_();
  }
  double seconds_after(Event& earlier) override {
    const auto& before = static_cast<const EmulatedEvent&>(earlier);
    const std::scoped_lock lock(mutex_, before.mutex_);
    if (!passed_ || !before.passed_) {
      throw Error(MOPT_INTERNAL, "the time between two events is asked for before both passed");
    }
    return std::chrono::duration<double>(when_ - before.when_).count();
  }
  // The same without a look at the device's health.
  void arrive() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return passed_; });
  }
  void pass() {
    const std::lock_guard lock(mutex_);
    passed_ = true;
    when_ = std::chrono::steady_clock::now();
    changed_.notify_all();
  }

 private:
  std::function<void()> check_, count_wait_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool passed_ = false;
  std::chrono::steady_clock::time_point when_;
};

}  // namespace

// In large pages, where the system gives some: opening and closing go through memory page by page.
Arena::Arena(int64_t bytes) : size_(rounded(bytes)) {
  void* p = mmap(nullptr, static_cast<size_t>(size_), PROT_NONE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  madvise(p, static_cast<size_t>(size_), MADV_HUGEPAGE);
  base_ = static_cast<std::byte*>(p);
}

Arena::~Arena() {
  munmap(base_, static_cast<size_t>(size_));
}

void Arena::open() {
  mprotect(base_, static_cast<size_t>(size_), PROT_READ | PROT_WRITE);
}
void Arena::close() {
  mprotect(base_, static_cast<size_t>(size_), PROT_NONE);
}

int64_t Arena::find_gap(int64_t room) const {
  for (const int64_t from : {cursor_, int64_t{0}}) {
    int64_t at = from;
    auto next = blocks_.lower_bound(at);
    if (next != blocks_.begin()) {
      const auto& [begin, block] = *std::prev(next);
      at = std::max(at, begin + block.room);
    }
    for (; next != blocks_.end(); ++next) {
      if (next->first - at >= room) return at;
      at = next->first + next->second.room;
    }
    if (size_ - at >= room) return at;
  }
  return -1;
}

std::byte* Arena::take(int64_t bytes) {
  const int64_t room = rounded(bytes) + kAlignment;
  const int64_t at = find_gap(room);
  if (at < 0) return nullptr;
  blocks_[at] = {bytes, room};
  cursor_ = at + room < kLap ? at + room : 0;
  std::memset(base_ + at, kPoison, static_cast<size_t>(bytes));
  std::memset(base_ + at + bytes, kGuard, static_cast<size_t>(room - bytes));
  return base_ + at;
}

bool Arena::release(std::byte* p) {
  const auto found = blocks_.find(p - base_);
  const auto [bytes, room] = found->second;
  const bool intact =
      std::all_of(p + bytes, p + room, [](std::byte b) { return b == std::byte{kGuard}; });
  std::memset(p, kPoison, static_cast<size_t>(room));
  blocks_.erase(found);
  return intact;
}

bool Arena::holds(const void* p, int64_t bytes) const {
  const int64_t at = static_cast<const std::byte*>(p) - base_;
  if (p == nullptr || at < 0 || at >= size_) return false;
  auto next = blocks_.upper_bound(at);
  if (next == blocks_.begin()) return false;
  const auto& [begin, block] = *std::prev(next);
  return at + bytes <= begin + block.bytes;
}

EmulatedDevice::EmulatedDevice(EmulatedOptions options)
    : options_(options),
      info_{kDLExtDev, 0, "emulated device", "none", options.capability, options.bytes},
      arena_(2 * options.bytes + (int64_t{1} << 20)),
      use_{.limit = options.bytes} {
  if (options_.reach == Reach::kAnybody) arena_.open();
}

std::unique_ptr<Queue> EmulatedDevice::make_queue(const char*) {
  return std::make_unique<EmulatedQueue>(*this);
}

// Not all of it: to touch the whole ring in each of hundreds of runs would take most of their time.
static void poison_beginning(std::byte* block, int64_t bytes) {
  constexpr int64_t kPoisoned = int64_t{1} << 20;
  std::memset(block, kPoison, static_cast<size_t>(std::min(bytes, kPoisoned)));
}

Buffer EmulatedDevice::take_pinned(int64_t bytes) {
  refuse_callback();
  check_alive();
  constexpr size_t kPage = 4096;
  const size_t pages = (static_cast<size_t>(std::max<int64_t>(1, bytes)) + kPage - 1) / kPage;
  const bool fits = bytes <= options_.pinned_bytes - pinned_bytes();
  auto* block = fits ? static_cast<std::byte*>(std::aligned_alloc(kPage, pages * kPage)) : nullptr;
  if (block == nullptr) throw Error(MOPT_OUT_OF_MEMORY, "host memory cannot be pinned");
  poison_beginning(block, bytes);
  const std::lock_guard lock(mutex_);
  pinned_[block] = bytes;
  pinned_bytes_ += bytes;
  return Buffer(block, [this](std::byte* p) {
    const std::lock_guard give_back(mutex_);
    pinned_bytes_ -= pinned_.at(p);
    poison_beginning(p, pinned_.at(p));
    pinned_.erase(p);
    std::free(p);
  });
}

MemoryUse EmulatedDevice::memory() const {
  const std::lock_guard lock(mutex_);
  MemoryUse use = use_;
  use.room = std::max<int64_t>(0, use.limit - use.in_use);
  return use;
}
void EmulatedDevice::set_limit(int64_t bytes) {
  const std::lock_guard lock(mutex_);
  use_.limit = std::min(bytes, options_.bytes);
}

namespace {
thread_local int open_ranges = 0;
}
void EmulatedDevice::begin_range(const char*) {
  ++open_ranges;
}
void EmulatedDevice::end_range() {
  if (--open_ranges < 0) complain("a range ends on a thread where none began");
}

std::vector<std::string> EmulatedDevice::complaints() const {
  const std::lock_guard lock(mutex_);
  return complaints_;
}
int64_t EmulatedDevice::pinned_bytes() const {
  const std::lock_guard lock(mutex_);
  return pinned_bytes_;
}
int64_t EmulatedDevice::works() const {
  const std::lock_guard lock(mutex_);
  return works_;
}

void EmulatedDevice::complain(std::string what) {
  const std::lock_guard lock(mutex_);
  complaints_.push_back(std::move(what));
}

void EmulatedDevice::check_alive() const {
  const std::lock_guard lock(mutex_);
  if (lost_) throw Error(MOPT_DEVICE, "the device failed: " + *lost_);
}

bool EmulatedDevice::is_lost() const {
  const std::lock_guard lock(mutex_);
  return lost_.has_value();
}

void EmulatedDevice::count(Counted kind) {
  const Fault& fault = options_.fault;
  const bool last = kind == fault.of && fault.after >= 0 && counts_[kind] >= fault.after;
  if (last && !lost_) lost_ = fault.what;
  ++counts_[kind];
}

void EmulatedDevice::count_wait() {
  const std::lock_guard lock(mutex_);
  count(Counted::kWait);
}

void EmulatedDevice::check() const {
  check_alive();
  const std::lock_guard lock(mutex_);
  if (told_ < complaints_.size()) throw Error(MOPT_DEVICE, complaints_[told_++]);
}

bool EmulatedDevice::in_pinned(const void* p, int64_t bytes) const {
  const auto* at = static_cast<const std::byte*>(p);
  const auto next = pinned_.upper_bound(at);
  if (next == pinned_.begin()) return false;
  const auto& [begin, size] = *std::prev(next);
  return at + bytes <= begin + size;
}

void EmulatedDevice::require_taken(const void* p, int64_t bytes, const char* what) const {
  const std::lock_guard lock(mutex_);
  if (bytes == 0 || arena_.holds(p, bytes) || in_pinned(p, bytes)) return;
  throw Error(MOPT_INTERNAL, std::string(what) + " " + std::to_string(bytes) +
                                 " bytes that are neither taken device memory nor pinned memory");
}

void EmulatedDevice::require_device_memory(const void* p, int64_t bytes, const char* what) const {
  const std::lock_guard lock(mutex_);
  if (bytes == 0 || arena_.holds(p, bytes)) return;
  throw Error(MOPT_INTERNAL, std::string(what) + " " + std::to_string(bytes) +
                                 " bytes that are not taken device memory");
}

void EmulatedDevice::open() {
  if (open_++ == 0 && options_.reach == Reach::kWorkOnly) arena_.open();
}
void EmulatedDevice::close() {
  if (--open_ == 0 && options_.reach == Reach::kWorkOnly) arena_.close();
}

void EmulatedDevice::run(Counted kind, const std::function<void()>& work) {
  const std::lock_guard one(running_);
  {
    const std::lock_guard lock(mutex_);
    if (!lost_) count(kind);
    if (!lost_) count(Counted::kWork);
    if (lost_) return;
    ++works_;
    open();
  }
  std::optional<std::string> failure;
  try {
    work();
  } catch (const std::exception& e) {
    failure = e.what();
  }
  const std::lock_guard lock(mutex_);
  close();
  if (failure) lost_ = failure;
}

void EmulatedDevice::read(void* to, const void* device, int64_t bytes) {
  require_device_memory(device, bytes, "a test reads");
  run(Counted::kWork, [&] { std::memcpy(to, device, static_cast<size_t>(bytes)); });
}

Buffer EmulatedDevice::take(int64_t bytes, const std::shared_ptr<QueueLife>& life) {
  refuse_callback();
  check_alive();
  const std::lock_guard lock(mutex_);
  std::byte* block = nullptr;
  if (use_.in_use + bytes <= use_.limit) {
    open();
    block = arena_.take(bytes);
    close();
  }
  if (block == nullptr) {
    use_.wanted = use_.in_use + bytes;
    throw Error(MOPT_OUT_OF_MEMORY, "expected " + std::to_string(bytes) +
                                        " more bytes on the device, where " +
                                        std::to_string(use_.in_use) + " of " +
                                        std::to_string(use_.limit) + " are in use");
  }
  use_.in_use += bytes;
  use_.peak = std::max(use_.peak, use_.in_use);
  return Buffer(block, [this, bytes, life](std::byte* p) { let_go(p, bytes, *life); });
}

// Work that is under way may still use the block; the next taker's comes after.
void EmulatedDevice::let_go(std::byte* block, int64_t bytes, QueueLife& life) {
  {
    const std::lock_guard lock(mutex_);
    use_.in_use -= bytes;
  }
  const std::lock_guard lock(life.mutex);
  if (life.queue != nullptr) {
    life.queue->enqueue([this, block, bytes] { release(block, bytes); });
  } else {
    release(block, bytes);
  }
}

void EmulatedDevice::release(std::byte* block, int64_t bytes) {
  const std::lock_guard one(running_);
  const std::lock_guard lock(mutex_);
  open();
  const bool intact = arena_.release(block);
  close();
  if (intact) return;
  complaints_.push_back("something was written behind the end of " + std::to_string(bytes) +
                        " bytes of device memory");
}

EmulatedQueue::EmulatedQueue(EmulatedDevice& device)
    : device_(device), life_(std::make_shared<EmulatedDevice::QueueLife>()) {
  life_->queue = this;
  if (device_.options_.work == WorkMode::kOnThread) thread_ = std::thread([this] { serve(); });
}

EmulatedQueue::~EmulatedQueue() {
  {
    const std::lock_guard lock(life_->mutex);
    life_->queue = nullptr;
  }
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

void EmulatedQueue::serve() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return ended_ || !steps_.empty(); });
    if (steps_.empty()) return;
    const std::function<void()> step = std::move(steps_.front());
    steps_.pop_front();
    lock.unlock();
    step();
    lock.lock();
    ++done_;
    changed_.notify_all();
  }
}

void EmulatedQueue::enqueue(std::function<void()> step) {
  if (!thread_.joinable()) return step();
  const std::lock_guard lock(mutex_);
  steps_.push_back(std::move(step));
  ++enqueued_;
  changed_.notify_all();
}

// What a graph does and holds.
class EmulatedQueue::Recorded final : public Graph {
 public:
  explicit Recorded(EmulatedQueue& queue) : queue_(queue) {}
  void launch() override {
    for (const std::function<void()>& work : works)
      queue_.submit(work);
  }
  std::vector<std::function<void()>> works;
  std::vector<Buffer> memory;

 private:
  EmulatedQueue& queue_;
};

std::unique_ptr<Graph> EmulatedQueue::capture(const std::function<void()>& fn) {
  refuse_capture();
  auto graph = std::make_unique<Recorded>(*this);
  recording_ = graph.get();
  try {
    fn();
  } catch (...) {
    recording_ = nullptr;
    throw;
  }
  recording_ = nullptr;
  return graph;
}

void EmulatedQueue::refuse_capture() const {
  if (recording_ == nullptr) return;
  throw Error(MOPT_INTERNAL, "a capture uses what cannot be recorded");
}

void EmulatedQueue::submit(Counted kind, std::function<void()> work) {
  refuse_callback();
  device_.check();
  if (recording_ != nullptr) return recording_->works.push_back(std::move(work));
  enqueue([this, kind, work = std::move(work)] { device_.run(kind, work); });
}

Buffer EmulatedQueue::take(int64_t bytes) {
  Buffer taken = device_.take(bytes, life_);
  if (recording_ != nullptr) recording_->memory.push_back(taken);
  return taken;
}

void EmulatedQueue::copy(void* to, const void* from, int64_t bytes) {
  device_.require_taken(from, bytes, "a copy reads");
  device_.require_taken(to, bytes, "a copy writes");
  const auto *a = static_cast<std::byte*>(to), *b = static_cast<const std::byte*>(from);
  if (a < b + bytes && b < a + bytes) {
    throw Error(MOPT_INTERNAL, "a copy's source and target overlap");
  }
  submit(Counted::kCopy, [=, this] {
    try {
      device_.require_taken(from, bytes, "a copy, when its turn came, read");
      device_.require_taken(to, bytes, "a copy, when its turn came, wrote");
    } catch (const Error& e) {
      return device_.complain(e.what());
    }
    if (bytes > 0) std::memcpy(to, from, static_cast<size_t>(bytes));
  });
}

void EmulatedQueue::zero(void* to, int64_t bytes) {
  device_.require_device_memory(to, bytes, "zero() writes");
  submit([=] {
    if (bytes > 0) std::memset(to, 0, static_cast<size_t>(bytes));
  });
}

EventPtr EmulatedQueue::record() {
  refuse_callback();
  refuse_capture();
  device_.check();
  auto event = std::make_shared<EmulatedEvent>([device = &device_] { device->check(); },
                                               [device = &device_] { device->count_wait(); });
  enqueue([event] { event->pass(); });
  return event;
}

void EmulatedQueue::wait_for(const EventPtr& event) {
  refuse_callback();
  refuse_capture();
  device_.check();
  enqueue([event] { static_cast<EmulatedEvent&>(*event).arrive(); });
}

void EmulatedQueue::call(std::function<void()> fn) {
  refuse_callback();
  refuse_capture();
  device_.check();
  enqueue([this, fn = std::move(fn)] {
    if (device_.is_lost()) return never_call(fn);
    in_callback = true;
    try {
      fn();
    } catch (const std::exception& e) {
      device_.complain(std::string("a callback threw: ") + e.what());
    }
    in_callback = false;
  });
}

void EmulatedQueue::finish() {
  refuse_callback();
  refuse_capture();
  if (thread_.joinable()) {
    std::unique_lock lock(mutex_);
    const int64_t wanted = enqueued_;
    changed_.wait(lock, [&] { return done_ >= wanted; });
  }
  device_.count_wait();
  device_.check();
}

}  // namespace mopt::compute::test
