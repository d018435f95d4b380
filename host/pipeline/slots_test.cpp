#include "host/pipeline/slots.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <future>
#include <memory>
#include <optional>
#include <thread>

#include "mopt/error.hpp"

namespace mopt::pipeline::test {
namespace {

using namespace std::chrono_literals;

struct Pages {
  explicit Pages(size_t bytes)
      : memory(static_cast<std::byte*>(std::aligned_alloc(SlotRing::kPage, bytes)), std::free),
        size(bytes) {}
  std::span<std::byte> span() const { return {memory.get(), size}; }
  std::unique_ptr<std::byte, decltype(&std::free)> memory;
  size_t size;
};

struct Ring {
  explicit Ring(size_t slots) : pages(slots * SlotRing::kPage) {}
  Pages pages;
  SlotRing ring{pages.span(), SlotRing::kPage};
};

TEST_CASE("slots are disjoint pages of the memory, and each comes back once") {
  Ring r(5);
  REQUIRE(r.ring.count() == 5);
  for (int round = 0; round < 3; ++round) {
    std::vector<Slot> slots;
    std::set<const std::byte*> begins;
    for (int i = 0; i < 5; ++i) {
      slots.push_back(r.ring.take());
      const std::span<std::byte> memory = slots.back().memory();
      CHECK(memory.size() == SlotRing::kPage);
      CHECK((memory.data() - r.pages.span().data()) % static_cast<long>(SlotRing::kPage) == 0);
      begins.insert(memory.data());
    }
    CHECK(begins.size() == 5);
    Slot moved = std::move(slots[0]);
    slots[0] = std::move(slots[1]);
    moved = std::move(slots[2]);
  }
}

TEST_CASE("a full ring makes takers wait until a slot is dropped, by any thread") {
  Ring r(1);
  std::optional<Slot> held = r.ring.take();
  auto waiting = std::async(std::launch::async, [&] { return r.ring.take(); });
  CHECK(waiting.wait_for(20ms) == std::future_status::timeout);
  std::thread([&] { held.reset(); }).join();
  CHECK(waiting.get().memory().size() == SlotRing::kPage);
}

TEST_CASE("cancelling and stopping wake every taker") {
  Ring r(1);
  const Slot held = r.ring.take();
  std::stop_source stop;
  auto stopped = std::async(std::launch::async, [&] { return r.ring.take(0, stop.get_token()); });
  auto cancelled = std::async(std::launch::async, [&] { return r.ring.take(7); });
  CHECK(stopped.wait_for(10ms) == std::future_status::timeout);
  stop.request_stop();
  CHECK_THROWS_AS(stopped.get(), mopt::Error);
  CHECK(cancelled.wait_for(10ms) == std::future_status::timeout);
  r.ring.cancel();
  CHECK_THROWS_AS(cancelled.get(), mopt::Error);
  CHECK_THROWS_AS(r.ring.take(), mopt::Error);
}

TEST_CASE("later orders leave one slot to the first, until that one has moved on") {
  Ring r(3);
  const Slot a = r.ring.take(1), b = r.ring.take(2);
  auto third = std::async(std::launch::async, [&] { return r.ring.take(2); });
  CHECK(third.wait_for(20ms) == std::future_status::timeout);
  {
    // Another that waits does not keep the first from its slot.
    const Slot first = r.ring.take(0);
    CHECK(third.wait_for(20ms) == std::future_status::timeout);
  }
  CHECK(third.wait_for(20ms) == std::future_status::timeout);
  r.ring.set_first(1);
  CHECK(third.get());
}

TEST_CASE("of those who wait the lowest order is served first") {
  Ring r(1);
  r.ring.set_first(10);
  std::optional<Slot> held = r.ring.take(0);
  std::mutex mutex;
  std::vector<uint64_t> served;
  std::vector<std::thread> threads;
  for (const uint64_t order : {5, 3, 9, 1}) {
    threads.emplace_back([&, order] {
      const Slot mine = r.ring.take(order);
      const std::lock_guard lock(mutex);
      served.push_back(order);
    });
  }
  while (r.ring.waiting() < 4)
    std::this_thread::yield();
  held.reset();
  for (std::thread& t : threads)
    t.join();
  CHECK(served == std::vector<uint64_t>{1, 3, 5, 9});
}

TEST_CASE("memory that is no ring is refused") {
  const Pages pages(2 * SlotRing::kPage);
  CHECK_THROWS_AS(SlotRing(pages.span(), 100), mopt::Error);
  CHECK_THROWS_AS(SlotRing(pages.span(), 0), mopt::Error);
  CHECK_THROWS_AS(SlotRing(pages.span().subspan(8), SlotRing::kPage), mopt::Error);
  CHECK_THROWS_AS(SlotRing(pages.span(), 4 * SlotRing::kPage), mopt::Error);
}

}  // namespace
}  // namespace mopt::pipeline::test
