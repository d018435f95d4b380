#include "host/pipeline/write_behind.hpp"

#include <doctest/doctest.h>
#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <map>
#include <random>

#include "host/pipeline/pipeline_test.hpp"
#include "tests/temp_directory.hpp"

namespace mopt::pipeline::test {
namespace {

using namespace std::chrono_literals;

std::string xxh128_of(const std::string& bytes) {
  XXH128_canonical_t digest;
  XXH128_canonicalFromHash(&digest, XXH3_128bits(bytes.data(), bytes.size()));
  std::string text;
  for (const unsigned char byte : digest.digest) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

// A disk in memory that knows what it was told, in order.
struct Disk {
  std::mutex mutex;
  std::map<std::string, std::string> tensors;
  std::vector<std::string> events;  // "sync", "unit 3"
  std::atomic<int> writes = 0;
  std::function<void(std::string_view, uint64_t)> before_write = [](std::string_view, uint64_t) {};
  std::function<void()> before_sync = [] {};

  WriteSink sink() {
    return {[this](std::string_view name, uint64_t offset, std::span<const std::byte> bytes) {
              before_write(name, offset);
              ++writes;
              const std::lock_guard lock(mutex);
              std::string& t = tensors[std::string(name)];
              t.resize(std::max(t.size(), offset + bytes.size()));
              std::copy_n(reinterpret_cast<const char*>(bytes.data()), bytes.size(),
                          t.begin() + static_cast<std::ptrdiff_t>(offset));
            },
            [this] {
              before_sync();
              note("sync");
            }};
  }
  void note(const std::string& event) {
    const std::lock_guard lock(mutex);
    events.push_back(event);
  }
  std::vector<std::string> units() {
    const std::lock_guard lock(mutex);
    std::vector<std::string> out;
    for (const std::string& e : events) {
      if (e != "sync") out.push_back(e);
    }
    return out;
  }
};

// Submits a copy of the bytes in pieces.
void submit(WriteBehind& out, const std::string& name, const std::string& bytes, size_t piece) {
  for (size_t at = 0; at == 0 || at < bytes.size(); at += piece) {
    auto copy = std::make_shared<std::string>(bytes.substr(at, piece));
    const auto span = std::as_bytes(std::span(*copy));
    out.submit(name, at, span, std::move(copy));
  }
}

std::string some_bytes(size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::string bytes(n, '\0');
  for (char& c : bytes)
    c = static_cast<char>(random());
  return bytes;
}

TEST_CASE("any threads and pieces write the same bytes with the same hashes, units in order") {
  std::map<std::string, std::string> expected;
  for (unsigned i = 0; i < 9; ++i)
    expected["t" + std::to_string(i)] = some_bytes(i == 4 ? 0 : 1000 * i + i, i);
  for (const int threads : {1, 2, 5}) {
    for (const size_t piece : {1, 7, 512, 100000}) {
      if (piece == 1 && threads != 5) continue;
      CAPTURE(threads);
      CAPTURE(piece);
      Disk disk;
      std::vector<WrittenTensor> written;
      {
        WriteBehind out(disk.sink(), {threads, 4096, 2});
        for (int unit = 0; unit < 3; ++unit) {
          out.begin_unit();
          for (int i = 0; i < 3; ++i) {
            const std::string name = "t" + std::to_string(3 * unit + i);
            submit(out, name, expected[name], piece);
          }
          out.end_unit([&, unit](const WrittenUnit& tensors) {
            disk.note("unit " + std::to_string(unit));
            written.insert(written.end(), tensors.begin(), tensors.end());
          });
        }
        out.drain();
        CHECK(out.timing().bytes == 36036 - 4004);
      }
      CHECK(disk.tensors == expected);
      REQUIRE(written.size() == 9);
      for (size_t i = 0; i < 9; ++i) {
        const std::string& bytes = expected["t" + std::to_string(i)];
        CHECK(written[i].name == "t" + std::to_string(i));
        CHECK(written[i].bytes == bytes.size());
        CHECK(written[i].xxh128 == xxh128_of(bytes));
      }
      CHECK(disk.units() == std::vector<std::string>{"unit 0", "unit 1", "unit 2"});
    }
  }
}

TEST_CASE("a unit is committed after a sync that began when all of it was written") {
  Disk disk;
  std::atomic<int> written_at_sync = 0;
  disk.before_write = [](std::string_view name, uint64_t) {
    if (name == "a") std::this_thread::sleep_for(20ms);
  };
  disk.before_sync = [&] { written_at_sync = disk.writes.load(); };
  WriteBehind out(disk.sink(), {3, 1 << 20, 4});
  for (const char* name : {"a", "b"}) {
    out.begin_unit();
    submit(out, name, "0123456789", 2);
    out.end_unit([&](const WrittenUnit& unit) {
      CHECK(written_at_sync >= (unit[0].name == "a" ? 5 : 10));
      disk.note("unit " + unit[0].name);
    });
  }
  out.drain();
  CHECK(disk.units() == std::vector<std::string>{"unit a", "unit b"});
  CHECK(disk.events.front() == "sync");
  const auto syncs = std::count(disk.events.begin(), disk.events.end(), "sync");
  CHECK((syncs == 1 || syncs == 2));
}

TEST_CASE("bytes in flight stay below the limit, except for one piece that is larger") {
  Disk disk;
  std::atomic<int64_t> alive = 0, most = 0;
  disk.before_write = [&](std::string_view, uint64_t) {
    most = std::max(most.load(), alive.load());
    std::this_thread::sleep_for(100us);
  };
  WriteBehind out(disk.sink(), {3, 1000, 1});
  out.begin_unit();
  uint64_t at = 0;
  const auto put = [&](size_t n) {
    // Counted while it is owned: before the call returns it is in flight.
    auto bytes = std::shared_ptr<std::string>(new std::string(n, 'x'), [&alive](std::string* s) {
      alive -= static_cast<int64_t>(s->size());
      delete s;
    });
    const auto span = std::as_bytes(std::span(*bytes));
    out.submit("t", at, span, std::move(bytes));
    alive += static_cast<int64_t>(n);
    at += n;
  };
  for (int i = 0; i < 200; ++i)
    put(150);
  CHECK(most <= 1000);
  put(5000);
  out.drain();
  CHECK(most <= 5000);
  CHECK(alive == 0);
  out.end_unit({});
  out.drain();
  CHECK(disk.tensors["t"].size() == 35000);
}

TEST_CASE("a unit is begun only when few enough before it are not committed") {
  Disk disk;
  std::promise<void> go;
  disk.before_sync = [gate = go.get_future().share()] { gate.wait(); };
  WriteBehind out(disk.sink(), {1, 1000, 1});
  for (int i = 0; i < 2; ++i) {
    out.begin_unit();
    submit(out, "t" + std::to_string(i), "abc", 3);
    out.end_unit({});
  }
  auto third = std::async(std::launch::async, [&] { out.begin_unit(); });
  CHECK(third.wait_for(30ms) == std::future_status::timeout);
  go.set_value();
  third.get();
}

TEST_CASE("a write that fails is thrown as it was, and its unit and later ones are not committed") {
  Disk disk;
  disk.before_write = [](std::string_view name, uint64_t offset) {
    if (name == "t1" && offset == 40)
      throw mopt::Error(MOPT_IO, "the disk is full", "file.partial");
  };
  std::weak_ptr<std::string> last;
  {
    WriteBehind out(disk.sink(), {2, 100, 8});
    const auto run = [&] {
      for (int i = 0; i < 4; ++i) {
        out.begin_unit();
        submit(out, "t" + std::to_string(i), std::string(1000, 'x'), 10);
        out.end_unit([&, i](const WrittenUnit&) { disk.note("unit " + std::to_string(i)); });
      }
      out.drain();
    };
    CHECK_THROWS_WITH_AS(run(), "the disk is full", mopt::Error);
    CHECK_THROWS_WITH_AS(out.drain(), "the disk is full", mopt::Error);
    CHECK_THROWS_WITH_AS(out.submit("t9", 0, {}, nullptr), "the disk is full", mopt::Error);
    CHECK_THROWS_WITH_AS(out.begin_unit(), "the disk is full", mopt::Error);
    CHECK_THROWS_WITH_AS(out.end_unit({}), "the disk is full", mopt::Error);
    try {
      out.drain();
    } catch (const mopt::Error& e) {
      CHECK(e.code() == MOPT_IO);
      CHECK(e.where() == "file.partial");
    }
    CHECK(disk.units() == std::vector<std::string>{"unit 0"});
  }
}

TEST_CASE("when the sync fails, or the callback, nothing after it is committed") {
  for (const bool sync : {true, false}) {
    Disk disk;
    int syncs = 0;
    disk.before_sync = [&] {
      if (sync && ++syncs == 2) throw std::runtime_error("broken");
    };
    WriteBehind out(disk.sink(), {2, 100, 0});
    const auto run = [&] {
      for (int i = 0; i < 4; ++i) {
        out.begin_unit();
        submit(out, "t" + std::to_string(i), "abc", 1);
        out.end_unit([&, i](const WrittenUnit&) {
          if (!sync && i == 1) throw std::runtime_error("broken");
          disk.note("unit " + std::to_string(i));
        });
      }
      out.drain();
    };
    CHECK_THROWS_WITH_AS(run(), "broken", std::runtime_error);
    CHECK(disk.units() == std::vector<std::string>{"unit 0"});
  }
}

TEST_CASE("cancelling drops what is queued with what keeps it, and commits nothing more") {
  Disk disk;
  std::promise<void> writing, go;
  std::once_flag once;
  disk.before_write = [&, gate = go.get_future().share()](std::string_view, uint64_t) {
    std::call_once(once, [&] { writing.set_value(); });
    gate.wait();
  };
  auto keep = std::make_shared<int>(0);
  {
    WriteBehind out(disk.sink(), {1, 100, 1});
    out.begin_unit();
    for (uint64_t at = 0; at < 100; at += 10)
      out.submit("t", at, std::as_bytes(std::span("0123456789", 10)), keep);
    auto blocked = std::async(std::launch::async, [&] {
      out.submit("t", 100, std::as_bytes(std::span("0123456789", 10)), keep);
    });
    out.end_unit([&](const WrittenUnit&) { disk.note("unit"); });
    writing.get_future().wait();
    out.cancel();
    try {
      blocked.get();
      FAIL_CHECK("it was accepted");
    } catch (const mopt::Error& e) {
      CHECK(e.code() == MOPT_CANCELLED);
    }
    CHECK_THROWS_AS(out.drain(), mopt::Error);
    go.set_value();
  }
  CHECK(keep.use_count() == 1);
  CHECK(disk.writes <= 1);
  CHECK(disk.units().empty());
}

TEST_CASE("pieces out of order, and calls out of order, are bugs of the caller") {
  Disk disk;
  WriteBehind out(disk.sink(), {1, 100, 1});
  CHECK_THROWS_AS(out.submit("t", 0, {}, nullptr), mopt::Error);
  CHECK_THROWS_AS(out.end_unit({}), mopt::Error);
  out.begin_unit();
  CHECK_THROWS_AS(out.begin_unit(), mopt::Error);
  CHECK_THROWS_WITH_AS(out.submit("t", 4, {}, nullptr), "expected its bytes from 0 on, found 4",
                       mopt::Error);
  out.end_unit({});
  CHECK_THROWS_AS(out.submit("t", 0, {}, nullptr), mopt::Error);
  out.drain();
}

TEST_CASE_FIXTURE(Fixture, "a checkpoint written behind is the one written at once") {
  const std::string a = some_bytes(70000, 1), b = some_bytes(12, 2);
  const ContainerWriter::Plan plan{
      path("out"), {{"a", kU8, {70000}}, {"b", kU8, {12}}, {"c", kU8, {0}}}, 0};
  ContainerWriter writer(registry, "safetensors", plan, WriteMode::kFresh);
  {
    WriteBehind out(sink_of(writer), {3, 100000, 1});
    out.begin_unit();
    submit(out, "b", b, 5);
    submit(out, "a", a, 4097);
    out.end_unit({});
    out.begin_unit();
    submit(out, "c", "", 1);
    out.end_unit({});
    out.drain();
  }
  writer.commit();
  const auto stored = read_safetensors(path("out") / "model.safetensors");
  CHECK(stored.at("a").bytes == a);
  CHECK(stored.at("b").bytes == b);
  CHECK(stored.at("c").bytes.empty());
}

}  // namespace
}  // namespace mopt::pipeline::test
