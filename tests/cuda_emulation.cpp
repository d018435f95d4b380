#include "tests/cuda_emulation.hpp"

#include <sys/mman.h>
#include <ucontext.h>

#include <atomic>
#include <csetjmp>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#  include <sanitizer/asan_interface.h>
#  include <sanitizer/common_interface_defs.h>
#endif

namespace mopt::emulation {
namespace {

constexpr size_t kStackBytes = size_t{256} << 10;

class Stack {
 public:
  Stack()
      : memory_(mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
    if (memory_ == MAP_FAILED) throw std::runtime_error("no memory for the stack of a fiber");
  }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;
  ~Stack() { munmap(memory_, kStackBytes); }
  void* memory() const { return memory_; }

 private:
  void* memory_;
};

enum class State { kReady, kAtBarrier, kAtWarp, kFinished };

struct Fiber {
  ucontext_t context{};  // its first entry; later ones go through `place`
  std::jmp_buf place{};
  bool entered = false;
  Stack stack;
  Indices indices{};
  State state = State::kReady;
  // Where it waits.
  Where where;
  bool vote = false;
  WarpOperation operation{};
  unsigned mask = 0;
  uint64_t word = 0;
  // What it takes home: votes; what the first lane of those that met has for all of them, which
  // stays until that lane meets others, and so until all have gone on.
  Votes votes{};
  Warp met{};
  const Warp* warp = nullptr;
  void* fake_stack = nullptr;  // the sanitizer's
};

std::string text(const Where& where) {
  std::string file = where.file_name();
  file = file.substr(file.find_last_of('/') + 1);
  return file + ":" + std::to_string(where.line());
}

bool same_place(const Where& a, const Where& b) {
  return a.line() == b.line() && a.column() == b.column() &&
         (a.file_name() == b.file_name() || std::string_view(a.file_name()) == b.file_name());
}

class Block {
 public:
  void run(uint3 index, dim3 grid, dim3 size, size_t shared_bytes,
           const std::function<void()>& thread);
  Fiber& current() { return *current_; }
  void* shared() { return shared_.get(); }
  // Of the current fiber: until the scheduler takes it up again.
  void wait();

 private:
  static void enter();
  void prepare(Fiber& fiber);
  void resume(Fiber& fiber);
  bool release();
  bool release_warp(size_t first);
  bool release_barrier();
  [[noreturn]] void fail() const;

  const std::function<void()>* thread_ = nullptr;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  size_t count_ = 0;
  Fiber* current_ = nullptr;
  std::jmp_buf scheduler_{};
  void* scheduler_fake_stack_ = nullptr;
  std::unique_ptr<std::byte[]> shared_;
  const void* scheduler_stack_ = nullptr;
  size_t scheduler_stack_bytes_ = 0;
};

Block& the_block() {
  static thread_local Block block;
  return block;
}

// A fiber lives through many blocks: between two of them it waits here.
void Block::enter() {
  Block& block = the_block();
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &block.scheduler_stack_, &block.scheduler_stack_bytes_);
#endif
  for (;;) {
    (*block.thread_)();
    block.current_->state = State::kFinished;
    block.wait();
  }
}

void Block::prepare(Fiber& fiber) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(fiber.stack.memory(), kStackBytes);
#endif
  getcontext(&fiber.context);
  fiber.context.uc_stack = {fiber.stack.memory(), 0, kStackBytes};
  fiber.context.uc_link = nullptr;
  fiber.fake_stack = nullptr;
  makecontext(&fiber.context, enter, 0);
}

// A jump costs no system call, as swapcontext does.
void Block::resume(Fiber& fiber) {
  current_ = &fiber;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&scheduler_fake_stack_, fiber.stack.memory(), kStackBytes);
#endif
  if (_setjmp(scheduler_) == 0) {
    if (fiber.entered) _longjmp(fiber.place, 1);
    fiber.entered = true;
    prepare(fiber);
    setcontext(&fiber.context);
  }
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(scheduler_fake_stack_, nullptr, nullptr);
#endif
}

void Block::wait() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&current_->fake_stack, scheduler_stack_, scheduler_stack_bytes_);
#endif
  if (_setjmp(current_->place) == 0) _longjmp(scheduler_, 1);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(current_->fake_stack, &scheduler_stack_, &scheduler_stack_bytes_);
#endif
}

// Lanes that wait in the warp from `first` on meet when all that their mask names are at the same
// operation.
bool Block::release_warp(size_t first) {
  bool any = false;
  for (size_t lane = 0; lane < 32 && first + lane < count_; ++lane) {
    Fiber& leader = *fibers_[first + lane];
    if (leader.state != State::kAtWarp) continue;
    const unsigned mask = leader.mask;
    leader.met.mask = mask;
    bool complete = (mask >> lane & 1u) != 0;
    for (size_t i = 0; i < 32 && complete; ++i) {
      if ((mask >> i & 1u) == 0) continue;
      complete = first + i < count_;
      if (!complete) break;
      const Fiber& other = *fibers_[first + i];
      complete = other.state == State::kAtWarp && other.mask == mask &&
                 other.operation == leader.operation && same_place(other.where, leader.where);
      leader.met.words[i] = other.word;
    }
    if (!complete) continue;
    for (size_t i = 0; i < 32; ++i) {
      if ((mask >> i & 1u) == 0) continue;
      Fiber& other = *fibers_[first + i];
      other.warp = &leader.met;
      other.state = State::kReady;
    }
    any = true;
  }
  return any;
}

bool Block::release_barrier() {
  Votes votes{0, static_cast<int>(count_)};
  for (size_t i = 0; i < count_; ++i) {
    const Fiber& fiber = *fibers_[i];
    if (fiber.state != State::kAtBarrier || !same_place(fiber.where, fibers_[0]->where)) {
      return false;
    }
    votes.count += fiber.vote ? 1 : 0;
  }
  for (size_t i = 0; i < count_; ++i) {
    fibers_[i]->votes = votes;
    fibers_[i]->state = State::kReady;
  }
  return true;
}

bool Block::release() {
  bool any = false;
  for (size_t first = 0; first < count_; first += 32)
    any = release_warp(first) || any;
  return any || release_barrier();
}

void Block::fail() const {
  std::string what = "threads of a block never meet:";
  size_t said = 0;
  const Fiber* last = nullptr;
  for (size_t i = 0; i < count_ && said < 4; ++i) {
    const Fiber& fiber = *fibers_[i];
    if (last != nullptr && last->state == fiber.state && same_place(last->where, fiber.where)) {
      continue;
    }
    last = &fiber;
    what += (said++ == 0 ? " thread " : "; thread ") + std::to_string(i);
    if (fiber.state == State::kFinished) {
      what += " has finished";
    } else {
      what += fiber.state == State::kAtBarrier ? " waits at the barrier " : " waits for its warp ";
      what += text(fiber.where);
    }
  }
  throw std::runtime_error(what);
}

void Block::run(uint3 index, dim3 grid, dim3 size, size_t shared_bytes,
                const std::function<void()>& thread) {
  thread_ = &thread;
  count_ = size_t{size.x} * size.y * size.z;
  if (count_ > 1024) throw std::runtime_error("a block has at most 1024 threads");
  while (fibers_.size() < count_)
    fibers_.push_back(std::make_unique<Fiber>());
  shared_ = std::make_unique<std::byte[]>(shared_bytes);
  std::memset(shared_.get(), 0xA5, shared_bytes);
  for (size_t i = 0; i < count_; ++i) {
    const auto t = static_cast<unsigned>(i);
    fibers_[i]->indices = {
        {t % size.x, t / size.x % size.y, t / size.x / size.y}, index, size, grid};
    fibers_[i]->state = State::kReady;
  }
  for (;;) {
    size_t finished = 0;
    for (size_t i = 0; i < count_; ++i) {
      Fiber& fiber = *fibers_[i];
      if (fiber.state == State::kReady) resume(fiber);
      finished += fiber.state == State::kFinished ? 1 : 0;
    }
    if (finished == count_) return;
    if (release()) continue;
    for (size_t i = 0; i < count_; ++i)
      fibers_[i]->entered = false;
    fail();
  }
}

std::atomic<int64_t> launched = 0;

}  // namespace

const Indices& indices() {
  return the_block().current().indices;
}

void* dynamic_shared() {
  return the_block().shared();
}

int64_t launches() {
  return launched;
}

void run(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& thread) {
  // Shared memory is one for all blocks.
  static std::mutex one_at_a_time;
  const std::lock_guard lock(one_at_a_time);
  ++launched;
  const Access access;
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x)
        the_block().run({x, y, z}, grid, block, shared_bytes, thread);
    }
  }
}

Votes barrier(bool vote, Where where) {
  Fiber& fiber = the_block().current();
  fiber.vote = vote;
  fiber.where = where;
  fiber.state = State::kAtBarrier;
  the_block().wait();
  return fiber.votes;
}

const Warp& exchange(WarpOperation operation, unsigned mask, uint64_t word, Where where) {
  Fiber& fiber = the_block().current();
  fiber.operation = operation;
  fiber.mask = mask;
  fiber.word = word;
  fiber.where = where;
  fiber.state = State::kAtWarp;
  the_block().wait();
  return *fiber.warp;
}

int lane() {
  const Indices& at = indices();
  const uint3& t = at.thread;
  return static_cast<int>((t.x + (t.y + t.z * at.block_dim.y) * at.block_dim.x) % 32);
}

uint64_t word_of(const Warp& warp, int source, int width) {
  const int own = lane();
  if (source < 0 || source / width != own / width) return warp.words[own];
  // A fiber cannot throw: the scheduler finds the lane that waits for nobody.
  if ((warp.mask >> source & 1u) == 0) {
    exchange(WarpOperation::kShuffle, 0, 0, Where::current());
  }
  return warp.words[source];
}

}  // namespace mopt::emulation
