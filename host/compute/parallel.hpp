// Threads of the host, and loops over fixed chunks: no result depends on the number of threads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace mopt::compute {

// The threads that loops may use while this object lives. Made once, by the command line.
class Threads {
 public:
  // 0: as many as the machine gives this process.
  explicit Threads(int n);
  ~Threads();
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
  // Runs fn on the calling thread with loops inside it spread over these threads. Loops outside of
  // run() use no more than n threads either, but not more than the machine has.
  void run(const std::function<void()>& fn);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Threads that a loop started here would use; 1 inside a chunk.
int thread_count();

// Calls fn(begin, end) for [0, grain), [grain, 2*grain), ... of [0, n), in any order and on any
// thread. The chunks never depend on the number of threads. A loop inside a chunk runs inline, in
// order; a loop of one chunk keeps its threads for the loops inside it. When chunks fail, the
// exception of the lowest one is thrown, after all running ones have ended.
void for_each(int64_t n, int64_t grain, const std::function<void(int64_t, int64_t)>& fn);

}  // namespace mopt::compute
