#include "host/compute/parallel.hpp"

#include <tbb/global_control.h>
#include <tbb/info.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <limits>
#include <mutex>

#include "mopt/error.hpp"

namespace mopt::compute {
namespace {

thread_local bool inside_chunk = false;

class InsideChunk {
 public:
  InsideChunk() { inside_chunk = true; }
  ~InsideChunk() { inside_chunk = false; }
  InsideChunk(const InsideChunk&) = delete;
  InsideChunk& operator=(const InsideChunk&) = delete;
};

// The failure of the lowest chunk. Chunks above a failed one need not start; those below it do, so
// which failure is reported does not depend on timing.
class FirstFailure {
 public:
  bool wanted(int64_t chunk) const { return chunk < lowest_.load(std::memory_order_relaxed); }
  void report(int64_t chunk, std::exception_ptr failure) {
    const std::lock_guard lock(mutex_);
    if (!wanted(chunk)) return;
    lowest_.store(chunk, std::memory_order_relaxed);
    failure_ = std::move(failure);
  }
  void rethrow() const {
    if (failure_ != nullptr) std::rethrow_exception(failure_);
  }

 private:
  std::atomic<int64_t> lowest_ = std::numeric_limits<int64_t>::max();
  std::mutex mutex_;
  std::exception_ptr failure_;
};

}  // namespace

struct Threads::State {
  explicit State(int n)
      : limit(tbb::global_control::max_allowed_parallelism, static_cast<size_t>(n)), arena(n) {}
  tbb::global_control limit;
  tbb::task_arena arena;
};

Threads::Threads(int n) {
  if (n < 0) {
    throw Error(MOPT_INVALID_ARGUMENT,
                "expected a number of threads from 1, found " + std::to_string(n));
  }
  state_ = std::make_unique<State>(n == 0 ? tbb::info::default_concurrency() : n);
}

Threads::~Threads() = default;

void Threads::run(const std::function<void()>& fn) {
  state_->arena.execute(fn);
}

int thread_count() {
  if (inside_chunk) return 1;
  const size_t allowed =
      tbb::global_control::active_value(tbb::global_control::max_allowed_parallelism);
  return std::min(tbb::this_task_arena::max_concurrency(), static_cast<int>(allowed));
}

void for_each(int64_t n, int64_t grain, const std::function<void(int64_t, int64_t)>& fn) {
  if (n <= 0) return;
  if (grain <= 0) throw Error(MOPT_INTERNAL, "a chunk needs at least one element");
  const int64_t chunks = (n + grain - 1) / grain;
  if (chunks == 1) return fn(0, n);
  if (thread_count() == 1) {
    for (int64_t c = 0; c < chunks; ++c)
      fn(c * grain, std::min(n, (c + 1) * grain));
    return;
  }
  FirstFailure failure;
  const auto chunk = [&](int64_t c) {
    if (!failure.wanted(c)) return;
    const InsideChunk mark;
    try {
      fn(c * grain, std::min(n, (c + 1) * grain));
    } catch (...) {
      failure.report(c, std::current_exception());
    }
  };
  // Isolated: while it waits, this thread takes no chunk of another loop, which could use the same
  // scratch memory as the caller of this one.
  tbb::this_task_arena::isolate(
      [&] { tbb::parallel_for(int64_t{0}, chunks, chunk, tbb::simple_partitioner{}); });
  failure.rethrow();
}

}  // namespace mopt::compute
