#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <stdexcept>

#include "kernels.hpp"
#include "tests/cuda_emulation_memory.hpp"
#include "tests/fake_host.hpp"

namespace mopt::test {
namespace {

// Elements in the emulated device's memory, copied back on reading.
template <class T>
class Array {
 public:
  explicit Array(const std::vector<T>& values)
      : count_(values.size()), p_(static_cast<T*>(emulation::allocate(count_ * sizeof(T)))) {
    const emulation::Access access;
    std::copy(values.begin(), values.end(), p_);
  }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  ~Array() { emulation::release(p_); }
  T* get() { return p_; }
  std::vector<T> read() const {
    const emulation::Access access;
    return {p_, p_ + count_};
  }

 private:
  size_t count_;
  T* p_;
};

// Whether fn ends the process.
template <class Fn>
bool dies(const Fn& fn) {
  const pid_t child = fork();
  if (child == 0) {
    std::freopen("/dev/null", "w", stderr);
    signal(SIGSEGV, SIG_DFL);
    signal(SIGABRT, SIG_DFL);
    fn();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

}  // namespace

TEST_CASE("emulated blocks sum through warps and shared memory") {
  std::vector<float> x(5 * 96), want(5, 0.0f);
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = static_cast<float>(i % 17);
    want[i / 96] += x[i];
  }
  Array<float> from(x), sums(std::vector<float>(5, -1.0f));
  sum_blocks(from.get(), 5, sums.get());
  CHECK(sums.read() == want);
}

TEST_CASE("emulated dynamic shared memory is as long as the launch says") {
  std::vector<int> x(3 * 40), want(3 * 40);
  for (int i = 0; i < 3 * 40; ++i) {
    x[static_cast<size_t>(i)] = i;
    want[static_cast<size_t>(i / 40 * 40 + 39 - i % 40)] = i;
  }
  Array<int> from(x), to(x);
  reverse(from.get(), 3, 40, to.get());
  CHECK(to.read() == want);
}

TEST_CASE("emulated shuffles bring what CUDA's do, within their width") {
  Array<int> out(std::vector<int>(128, -1));
  shuffle_lanes(out.get());
  const std::vector<int> got = out.read();
  for (int lane = 0; lane < 32; ++lane) {
    CAPTURE(lane);
    const auto at = static_cast<size_t>(lane * 4);
    CHECK(got[at] == lane / 8 * 8 + 3);
    CHECK(got[at + 1] == (lane ^ 5));
    CHECK(got[at + 2] == (lane % 8 < 2 ? lane : lane - 2));
    CHECK(got[at + 3] == (lane % 8 > 5 ? lane : lane + 2));
  }
}

TEST_CASE("emulated votes, reductions and atomics count every thread once") {
  Array<unsigned> out(std::vector<unsigned>(4, 0));
  vote(out.get());
  CHECK(out.read() == std::vector<unsigned>{0xAAAAAAAAu, 31, 24, 70 * 71 / 2});
}

TEST_CASE("threads that never meet are found, and the next kernel runs") {
  CHECK_THROWS_WITH(half_at_the_barrier(),
                    doctest::Contains("thread 0 has finished; thread 16 waits at the barrier "
                                      "kernels.cu:"));
  CHECK_THROWS_WITH(different_barriers(), doctest::Contains("threads of a block never meet: thread "
                                                            "0 waits at the barrier kernels.cu:"));
  CHECK_THROWS_WITH(barrier_in_a_loop_of_uneven_length(),
                    doctest::Contains("thread 0 has finished; thread 32 waits at the barrier"));
  CHECK_THROWS_WITH(shuffle_with_absent_lanes(),
                    doctest::Contains("thread 0 waits for its warp kernels.cu:"));
  Array<unsigned> out(std::vector<unsigned>(4, 0));
  vote(out.get());
  CHECK(out.read()[2] == 24);
}

TEST_CASE("memory of the emulated device is guarded on both sides, and closed to the host") {
  const auto write = [](int64_t index) {
    Array<int> memory(std::vector<int>(10, 0));
    write_at(memory.get(), index);
  };
  CHECK_FALSE(dies([&] { write(9); }));
  CHECK(dies([&] { write(10); }));
  CHECK(dies([&] { write(-1); }));
  CHECK(dies([&] { write(1024); }));
  CHECK(dies([] {
    Array<int> memory(std::vector<int>(10, 0));
    *static_cast<volatile int*>(memory.get()) = 1;
  }));
}

#if defined(__SANITIZE_ADDRESS__)
TEST_CASE("the address sanitizer guards emulated shared memory") {
  CHECK_FALSE(dies([] { write_shared_at(9); }));
  CHECK(dies([] { write_shared_at(10); }));
}
#endif

}  // namespace mopt::test
