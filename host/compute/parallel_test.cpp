#include "host/compute/parallel.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace mopt::compute;

TEST_CASE("a loop covers every element once, in the same chunks for any number of threads") {
  for (const int n : {1, 2, 7}) {
    Threads threads(n);
    threads.run([&] {
      std::mutex mutex;
      std::set<std::pair<int64_t, int64_t>> chunks;
      for_each(103, 10, [&](int64_t begin, int64_t end) {
        const std::lock_guard lock(mutex);
        CHECK(chunks.emplace(begin, end).second);
      });
      std::set<std::pair<int64_t, int64_t>> expected;
      for (int64_t i = 0; i < 103; i += 10)
        expected.emplace(i, std::min<int64_t>(103, i + 10));
      CHECK(chunks == expected);
    });
  }
}

TEST_CASE("an empty loop calls nothing") {
  for_each(0, 4, [](int64_t, int64_t) { FAIL("called"); });
}

TEST_CASE("threads are as many as asked for, and one inside a chunk") {
  Threads threads(3);
  threads.run([] {
    CHECK(thread_count() == 3);
    for_each(8, 1, [](int64_t, int64_t) { CHECK(thread_count() == 1); });
    CHECK(thread_count() == 3);
  });
}

TEST_CASE("a loop of one chunk leaves its threads to the loops inside") {
  Threads threads(3);
  threads.run([] { for_each(5, 8, [](int64_t, int64_t) { CHECK(thread_count() == 3); }); });
}

TEST_CASE("a loop inside a chunk runs in order on the chunk's thread") {
  Threads threads(4);
  threads.run([] {
    for_each(16, 1, [](int64_t, int64_t) {
      const auto self = std::this_thread::get_id();
      std::vector<int64_t> order;
      for_each(5, 2, [&](int64_t begin, int64_t) {
        CHECK(std::this_thread::get_id() == self);
        order.push_back(begin);
      });
      CHECK(order == std::vector<int64_t>{0, 2, 4});
    });
  });
}

TEST_CASE("several threads really work at the same time") {
  Threads threads(2);
  threads.run([] {
    std::atomic<int> arrived = 0;
    // Each chunk waits for the other one: it can only end when two threads are inside.
    for_each(2, 1, [&](int64_t, int64_t) {
      ++arrived;
      const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      while (arrived < 2 && std::chrono::steady_clock::now() < deadline)
        std::this_thread::yield();
    });
    CHECK(arrived == 2);
  });
}

TEST_CASE("the failure of the lowest failing chunk is the one that is thrown") {
  for (const int n : {1, 4}) {
    Threads threads(n);
    for (int repeat = 0; repeat < 20; ++repeat) {
      std::string caught;
      try {
        threads.run([] {
          for_each(64, 1, [](int64_t i, int64_t) {
            if (i % 10 == 3) throw std::runtime_error(std::to_string(i));
          });
        });
      } catch (const std::runtime_error& e) {
        caught = e.what();
      }
      CHECK(caught == "3");
    }
  }
}

TEST_CASE("after a failure loops work again, outside and inside chunks") {
  Threads threads(2);
  threads.run([] {
    CHECK_THROWS(for_each(4, 1, [](int64_t, int64_t) { throw std::runtime_error("x"); }));
    CHECK(thread_count() == 2);
  });
}
