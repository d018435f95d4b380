#include "tests/emulated_device/emulated_device.hpp"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstring>
#include <numeric>
#include <thread>

namespace mopt::compute::test {
namespace {

std::optional<mopt_code> code_of(const std::function<void()>& fn) {
  try {
    fn();
  } catch (const Error& e) {
    return e.code();
  }
  return std::nullopt;
}

EmulatedOptions options_for(WorkMode work) {
  EmulatedOptions options;
  options.work = work;
  return options;
}

// n floats from 1 on, in pinned memory.
Buffer counting(EmulatedDevice& device, int64_t n) {
  Buffer pinned = device.take_pinned(n * 4);
  auto* at = reinterpret_cast<float*>(pinned.get());
  std::iota(at, at + n, 1.0f);
  return pinned;
}

}  // namespace

TEST_CASE("bytes go to the device, through a kernel, and come back, in the order of the calls") {
  for (const WorkMode work : {WorkMode::kAtOnce, WorkMode::kOnThread}) {
    EmulatedDevice device(options_for(work));
    const auto queue = device.make_queue("test");
    constexpr int64_t kN = 1000;
    const Buffer pinned = counting(device, kN), back = device.take_pinned(kN * 4);
    const Buffer x = queue->take(kN * 4);
    queue->copy(x.get(), pinned.get(), kN * 4);
    const View view = view_of(x.get(), kF32, {kN});
    Options options;
    options.queue = queue.get();
    for (int i = 0; i < 3; ++i)
      add(view, view, view, options);
    queue->copy(back.get(), x.get(), kN * 4);
    queue->finish();
    for (int64_t i = 0; i < kN; ++i)
      CHECK(reinterpret_cast<const float*>(back.get())[i] == 8.0f * static_cast<float>(i + 1));
    CHECK(device.complaints().empty());
    CHECK(device.works() == 5);
  }
}

TEST_CASE("codes are multiplied on the device, and whether by tensor cores is known before") {
  EmulatedDevice device(options_for(WorkMode::kOnThread));
  const auto queue = device.make_queue("test");
  const auto on_device = [&](const void* from, int64_t bytes) {
    const Buffer pinned = device.take_pinned(bytes), to = queue->take(bytes);
    std::memcpy(pinned.get(), from, static_cast<size_t>(bytes));
    queue->copy(to.get(), pinned.get(), bytes);
    queue->finish();
    return to;
  };
  // The codes of 1.5 and -2; 16 of each in a row.
  const std::vector<uint8_t> x(2 * 16, 0x3C), weight(16 * 16, 0xC0);
  const float scales[] = {1, 0.5f};
  const Buffer codes = on_device(x.data(), 32), weights = on_device(weight.data(), 256),
               factors = on_device(scales, 8), y = queue->take(2 * 16 * 4);
  Options options;
  options.queue = queue.get();
  options.forced = {"linear.emulated_codes"};
  linear(Codes{view_of(codes.get(), kE4m3, {2, 16}), view_of(factors.get(), kF32, {2})},
         Codes{view_of(weights.get(), kE4m3, {16, 16}), view_of(factors.get(), kF32, {1})}, nullptr,
         view_of(y.get(), kF32, {2, 16}), options);
  queue->finish();
  float found[2 * 16] = {};
  device.read(found, y.get(), sizeof(found));
  for (int i = 0; i < 2 * 16; ++i)
    CHECK(found[i] == (i < 16 ? -48.0f : -24.0f));
  CHECK(device.complaints().empty());

  using Scales = CodesProblem::Scales;
  CHECK(linear_codes_refused({16, 16, Scales::kRows, Scales::kOne, true, kF32}, options) == "");
  CHECK(linear_codes_refused({16, 17}, options) == "it takes sizes of a multiple of 16 only");
  options.forced = {};
  CHECK(linear_codes_refused({16, 16}, options) == "");
  CHECK(linear_codes_refused({8, 16}, options) == "it takes sizes of a multiple of 16 only");
  options.forced = {"linear.emulated"};
  CHECK(linear_codes_refused({16, 16}, options) ==
        "the kernel that takes everything has no tensor cores");
}

TEST_CASE("an older device has no tensor cores for codes, and multiplies them all the same") {
  EmulatedOptions old;
  old.capability = 80;
  EmulatedDevice device(old);
  const auto queue = device.make_queue("test");
  Options options;
  options.queue = queue.get();
  CHECK(linear_codes_refused({16, 16}, options) == "the device has no tensor cores for codes");
  const Buffer codes = queue->take(16 * 16), one = queue->take(4), y = queue->take(16 * 16 * 2);
  const View operand = view_of(codes.get(), kE4m3, {16, 16}), scale = view_of(one.get(), kF32, {1});
  linear(Codes{operand, scale}, Codes{operand, scale}, nullptr, view_of(y.get(), kBf16, {16, 16}),
         options);
  queue->finish();
  CHECK(device.complaints().empty());
}

TEST_CASE("memory that nobody wrote to holds NaN, on the device and pinned") {
  EmulatedDevice device;
  const auto queue = device.make_queue("test");
  const Buffer x = queue->take(12), pinned = device.take_pinned(12);
  float found[3] = {};
  device.read(found, x.get(), 12);
  for (const float f : found)
    CHECK(std::isnan(f));
  CHECK(std::isnan(reinterpret_cast<const float*>(pinned.get())[2]));
}

TEST_CASE("host code that touches device memory ends the process") {
  EmulatedDevice device;
  const auto queue = device.make_queue("test");
  const Buffer x = queue->take(64);
  const pid_t child = fork();
  if (child == 0) {
    std::signal(SIGSEGV, SIG_DFL);
    *const_cast<volatile std::byte*>(x.get()) = std::byte{1};
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(WIFSIGNALED(status));
}

TEST_CASE("copies of memory that was not taken, is let go, or is pageable are refused") {
  EmulatedDevice device;
  const auto queue = device.make_queue("test");
  Buffer x = queue->take(64);
  const Buffer pinned = device.take_pinned(64);
  std::vector<std::byte> pageable(64);
  CHECK(code_of([&] { queue->copy(x.get(), pinned.get(), 64); }) == std::nullopt);
  CHECK(code_of([&] { queue->copy(x.get(), pageable.data(), 64); }) == MOPT_INTERNAL);
  CHECK(code_of([&] { queue->copy(pageable.data(), x.get(), 64); }) == MOPT_INTERNAL);
  CHECK(code_of([&] { queue->copy(x.get(), pinned.get(), 65); }) == MOPT_INTERNAL);
  CHECK(code_of([&] { queue->copy(x.get() + 1, pinned.get(), 64); }) == MOPT_INTERNAL);
  CHECK(code_of([&] { queue->copy(x.get(), x.get() + 8, 16); }) == MOPT_INTERNAL);
  CHECK(code_of([&] { queue->zero(pinned.get(), 8); }) == MOPT_INTERNAL);
  std::byte* gone = x.get();
  x.reset();
  CHECK(code_of([&] { queue->copy(gone, pinned.get(), 64); }) == MOPT_INTERNAL);
}

TEST_CASE("a kernel is refused operands that are not the device's") {
  EmulatedDevice device;
  const auto queue = device.make_queue("test");
  const Buffer x = queue->take(64), pinned = device.take_pinned(64);
  Options options;
  options.queue = queue.get();
  const View good = view_of(x.get(), kF32, {16}), host = view_of(pinned.get(), kF32, {16});
  CHECK(code_of([&] { add(good, good, good, options); }) == std::nullopt);
  CHECK(code_of([&] { add(good, host, good, options); }) == MOPT_INTERNAL);
  CHECK(code_of([&] { add(good, good, host, options); }) == MOPT_INTERNAL);
}

TEST_CASE("a write behind the end of a block is found when it is let go, and fails the next call") {
  for (const WorkMode work : {WorkMode::kAtOnce, WorkMode::kOnThread}) {
    EmulatedDevice device(options_for(work));
    EmulatedQueue queue(device);
    Buffer x = queue.take(100);
    queue.submit([p = x.get()] { p[100] = std::byte{0}; });
    x.reset();
    CHECK(code_of([&] { queue.finish(); }) == MOPT_DEVICE);
    CHECK(device.complaints().size() == 1);
    CHECK(code_of([&] { queue.finish(); }) == std::nullopt);
  }
}

TEST_CASE("memory is let go in the order of the queue's work") {
  EmulatedDevice device(options_for(WorkMode::kOnThread));
  EmulatedQueue queue(device);
  std::atomic<bool> open = false;
  const Buffer pinned = counting(device, 16), back = device.take_pinned(64);
  queue.call([&] {
    while (!open)
      std::this_thread::yield();
  });
  Buffer x = queue.take(64);
  queue.copy(x.get(), pinned.get(), 64);
  queue.copy(back.get(), x.get(), 64);
  x.reset();
  CHECK(device.memory().in_use == 0);
  open = true;
  queue.finish();
  CHECK(std::memcmp(back.get(), pinned.get(), 64) == 0);
  CHECK(device.complaints().empty());
}

TEST_CASE("pinned memory that is let go before the copy's turn is a complaint") {
  EmulatedDevice device(options_for(WorkMode::kOnThread));
  EmulatedQueue queue(device);
  std::atomic<bool> open = false;
  queue.call([&] {
    while (!open)
      std::this_thread::yield();
  });
  const Buffer x = queue.take(64);
  Buffer pinned = device.take_pinned(64);
  queue.copy(x.get(), pinned.get(), 64);
  pinned.reset();
  open = true;
  CHECK(code_of([&] { queue.finish(); }) == MOPT_DEVICE);
  CHECK(device.complaints().size() == 1);
}

TEST_CASE("an event orders two queues") {
  EmulatedDevice device(options_for(WorkMode::kOnThread));
  EmulatedQueue first(device), second(device);
  std::atomic<bool> open = false, seen = false;
  first.call([&] {
    while (!open)
      std::this_thread::yield();
    seen = true;
  });
  const EventPtr event = first.record();
  CHECK_FALSE(event->passed());
  bool in_order = false;
  second.wait_for(event);
  second.call([&] { in_order = seen; });
  open = true;
  event->wait();
  CHECK(event->passed());
  second.finish();
  CHECK(in_order);
}

TEST_CASE("time passes between two events, and is not known before both have passed") {
  EmulatedDevice device(options_for(WorkMode::kOnThread));
  EmulatedQueue queue(device);
  std::atomic<bool> open = false;
  const EventPtr first = queue.record();
  queue.call([&] {
    while (!open)
      std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  });
  const EventPtr second = queue.record();
  first->wait();
  CHECK(code_of([&] { second->seconds_after(*first); }) == MOPT_INTERNAL);
  open = true;
  second->wait();
  CHECK(second->seconds_after(*first) >= 0.002);
}

TEST_CASE("recorded work is done at each launch, with the bytes of that time") {
  for (const WorkMode work : {WorkMode::kAtOnce, WorkMode::kOnThread}) {
    EmulatedDevice device(options_for(work));
    const auto queue = device.make_queue("test");
    const Buffer pinned = device.take_pinned(4), back = device.take_pinned(4);
    const Buffer sum = queue->take(4);
    queue->zero(sum.get(), 4);
    Options options;
    options.queue = queue.get();
    const int64_t before = device.memory().in_use;
    auto graph = queue->capture([&] {
      const Buffer x = queue->take(4);  // the graph's from here on
      queue->copy(x.get(), pinned.get(), 4);
      const View to = view_of(sum.get(), kF32, {1});
      add(to, view_of(x.get(), kF32, {1}), to, options);
      queue->copy(back.get(), sum.get(), 4);
    });
    queue->finish();
    CHECK(device.memory().in_use == before + 4);
    CHECK(device.works() == 1);
    const auto& result = *reinterpret_cast<const float*>(back.get());
    float expected = 0;
    for (const float value : {1.0f, 10.0f, 100.0f}) {
      *reinterpret_cast<float*>(pinned.get()) = value;
      graph->launch();
      queue->finish();
      expected += value;
      CHECK(result == expected);
    }
    graph.reset();
    CHECK(device.memory().in_use == before);
    CHECK(device.complaints().empty());
  }
}

TEST_CASE("events, callbacks, the end of work and a capture cannot be recorded") {
  EmulatedDevice device;
  const auto queue = device.make_queue("test");
  const EventPtr event = queue->record();
  const auto recorded = [&](const std::function<void()>& fn) {
    return code_of([&] { queue->capture(fn); });
  };
  CHECK(recorded([&] { queue->record(); }) == MOPT_INTERNAL);
  CHECK(recorded([&] { queue->wait_for(event); }) == MOPT_INTERNAL);
  CHECK(recorded([&] { queue->call([] {}); }) == MOPT_INTERNAL);
  CHECK(recorded([&] { queue->finish(); }) == MOPT_INTERNAL);
  CHECK(recorded([&] { queue->capture([] {}); }) == MOPT_INTERNAL);
  CHECK(recorded([] { throw Error(MOPT_NOT_FOUND, "what fn throws"); }) == MOPT_NOT_FOUND);
  CHECK(code_of([&] { queue->finish(); }) == std::nullopt);
}

TEST_CASE("a callback that uses the device is a complaint") {
  EmulatedDevice device;
  const auto queue = device.make_queue("test");
  queue->call([&] { queue->record(); });
  CHECK(code_of([&] { queue->finish(); }) == MOPT_DEVICE);
}

TEST_CASE("no more memory is taken than the limit, and the peak is remembered") {
  EmulatedDevice device;
  const auto queue = device.make_queue("test");
  device.set_limit(1000);
  {
    const Buffer a = queue->take(600);
    CHECK(code_of([&] { queue->take(401); }) == MOPT_OUT_OF_MEMORY);
    const Buffer b = queue->take(400);
    CHECK(device.memory().in_use == 1000);
  }
  CHECK(device.memory().in_use == 0);
  CHECK(device.memory().peak == 1000);
}

TEST_CASE("a buffer may outlive its queue") {
  EmulatedDevice device(options_for(WorkMode::kOnThread));
  auto queue = device.make_queue("test");
  Buffer x = queue->take(100);
  queue.reset();
  x.reset();
  CHECK(device.memory().in_use == 0);
  CHECK(device.complaints().empty());
}

TEST_CASE("a device that is lost fails every later call, and a work that throws loses it") {
  EmulatedOptions options;
  options.fault = {Counted::kWork, 2, "it was lost"};
  EmulatedDevice device(options);
  const auto queue = device.make_queue("test");
  const Buffer x = queue->take(64);
  for (int i = 0; i < 3; ++i)
    queue->zero(x.get(), 64);
  CHECK(code_of([&] { queue->finish(); }) == MOPT_DEVICE);
  CHECK(code_of([&] { queue->zero(x.get(), 64); }) == MOPT_DEVICE);
  CHECK(device.works() == 2);

  EmulatedDevice other;
  EmulatedQueue failing(other);
  failing.submit([] { throw std::runtime_error("an illegal instruction"); });
  CHECK(code_of([&] { failing.finish(); }) == MOPT_DEVICE);
}

TEST_CASE("a device is lost at the kernel, copy or wait that a test names") {
  for (const WorkMode work : {WorkMode::kAtOnce, WorkMode::kOnThread}) {
    for (const Counted of : {Counted::kKernel, Counted::kCopy, Counted::kWait}) {
      EmulatedOptions options = options_for(work);
      options.fault = {of, 1, "an illegal memory access"};
      EmulatedDevice device(options);
      const auto queue = device.make_queue("test");
      const Buffer x = queue->take(64), here = device.take_pinned(64);
      bool called = false;
      const auto round = [&] {
        emulated_queue(*queue).submit([] {});
        queue->copy(x.get(), here.get(), 64);
        queue->call([&] { called = true; });
        queue->finish();
      };
      round();
      CHECK(called);
      called = false;
      CHECK(code_of(round) == MOPT_DEVICE);
      CHECK(called == (of == Counted::kWait));
      CHECK(code_of([&] { queue->take(64); }) == MOPT_DEVICE);
      CHECK(code_of([&] { device.take_pinned(64); }) == MOPT_DEVICE);
      CHECK(code_of([&] { queue->record(); }) == MOPT_DEVICE);
    }
  }
}

}  // namespace mopt::compute::test
