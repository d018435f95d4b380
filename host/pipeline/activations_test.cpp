#include "host/pipeline/activations.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <cstring>
#include <random>
#include <set>
#include <thread>

#include "host/recipe/diagnostic.hpp"
#include "tests/emulated_device/emulated_device.hpp"
#include "tests/temp_directory.hpp"

namespace mopt::pipeline::test {
namespace {

using compute::test::emulated_queue;
using compute::test::EmulatedDevice;
using compute::test::WorkMode;
using mopt::test::TempDir;

using Bytes = std::vector<uint8_t>;
using Values = std::map<graph::ValueId, Bytes>;  // of a batch

constexpr uint64_t kPiece = 4096;

uint64_t at_rest(const Values& values) {
  uint64_t sum = 0;
  for (const auto& [v, bytes] : values)
    sum += (bytes.size() + 255) / 256 * 256;
  return sum;
}

// What a block makes of a batch: some values stay, the others are made of the sum of all.
struct Change {
  std::set<graph::ValueId> stay;
  std::map<graph::ValueId, size_t> made;
};

uint8_t fold(uint8_t sum, uint8_t byte) {
  return static_cast<uint8_t>(sum * 31 + byte);
}

Values changed(const Values& before, const Change& change) {
  Values after;
  uint8_t sum = 1;
  for (const auto& [v, bytes] : before) {
    for (const uint8_t b : bytes)
      sum = fold(sum, b);
    if (change.stay.contains(v)) after[v] = bytes;
  }
  for (const auto& [v, size] : change.made) {
    after[v].resize(size);
    for (size_t i = 0; i < size; ++i)
      after[v][i] = static_cast<uint8_t>(sum + v + static_cast<int>(i % 251));
  }
  return after;
}

compute::View view_on(void* data, size_t size) {
  return compute::view_of(data, DLDataType{kDLUInt, 8, 1}, {static_cast<int64_t>(size)});
}

// The same as work of a queue.
LiveValues change_on(compute::Queue& queue, const LiveValues& before, const Change& change) {
  LiveValues after;
  std::vector<compute::View> from;
  for (const auto& [v, value] : before) {
    from.push_back(value.view);
    if (change.stay.contains(v)) after[v] = value;
  }
  for (const auto& [v, size] : change.made) {
    const compute::Buffer memory = queue.take(static_cast<int64_t>(std::max<size_t>(1, size)));
    after[v] = {memory, view_on(memory.get(), size)};
    emulated_queue(queue).submit([from, to = after[v].view, v = v] {
      uint8_t sum = 1;
      for (const compute::View& x : from) {
        for (int64_t i = 0; i < x.bytes(); ++i)
          sum = fold(sum, x.as<uint8_t>()[i]);
      }
      for (int64_t i = 0; i < to.bytes(); ++i)
        to.as<uint8_t>()[i] = static_cast<uint8_t>(sum + v + static_cast<int>(i % 251));
    });
  }
  return after;
}

Values on_cpu(const LiveValues& values) {
  Values out;
  for (const auto& [v, value] : values) {
    const auto* data = static_cast<const uint8_t*>(value.view.data);
    out[v].assign(data, data + value.view.bytes());
  }
  return out;
}

// A run over batches of random sizes: what every block makes of them is known before.
struct Story {
  explicit Story(unsigned seed) : random(seed) {
    const size_t batches = 1 + pick(9);
    blocks.resize(3 + pick(3));
    states.assign(blocks.size() + 1, std::vector<Values>(batches));
    for (size_t block = 0; block < blocks.size(); ++block) {
      for (size_t b = 0; b < batches; ++b) {
        Change change;
        for (const auto& [v, bytes] : states[block][b]) {
          if (pick(3) == 0) change.stay.insert(v);
        }
        const size_t made = pick(3);
        for (size_t i = 0; i < made; ++i)
          change.made[static_cast<graph::ValueId>(10 * block + i)] = pick(3 * kPiece);
        states[block + 1][b] = changed(states[block][b], change);
        blocks[block].push_back(std::move(change));
      }
    }
    bytes.resize(batches);
    for (const auto& state : states) {
      for (size_t b = 0; b < batches; ++b)
        bytes[b] = std::max(bytes[b], at_rest(state[b]));
    }
    for (const uint64_t b : bytes)
      total += b;
  }
  size_t pick(size_t below) { return std::uniform_int_distribution<size_t>(0, below - 1)(random); }

  std::mt19937 random;
  std::vector<std::vector<Change>> blocks;  // [block][batch]
  std::vector<std::vector<Values>> states;  // [boundary][batch]
  std::vector<uint64_t> bytes;
  uint64_t total = 0;
};

struct OnTiers {
  OnTiers(WorkMode work, Story& story_of)
      : story(story_of),
        device({.bytes = int64_t{16} << 20, .work = work}),
        in(device.make_queue("in")),
        out(device.make_queue("out")),
        on(device.make_queue("compute"), services) {}
  // Sometimes a queue has something else to do first.
  void delay(compute::Queue& queue) {
    const auto time = std::chrono::microseconds(story.pick(4) == 0 ? story.pick(800) : 0);
    if (time.count() > 0) queue.call([time] { std::this_thread::sleep_for(time); });
  }
  void run_block(Activations& rest, size_t block) {
    rest.begin();
    for (size_t b = 0; b < story.bytes.size(); ++b) {
      delay(*in), delay(*out), delay(on.queue());
      const LiveValues before = rest.take(b);
      rest.put(b, change_on(on.queue(), before, story.blocks[block][b]));
    }
  }
  void equal(Activations& rest, size_t boundary) {
    uint64_t sum = 0;
    for (size_t b = 0; b < story.bytes.size(); ++b) {
      CAPTURE(boundary);
      CAPTURE(b);
      CHECK(on_cpu(rest.read(b)) == story.states[boundary][b]);
      for (const auto& [v, bytes] : story.states[boundary][b])
        sum += bytes.size();
    }
    CHECK(rest.bytes() == sum);
  }
  // In any order, without a change.
  void look_at(Activations& rest, size_t boundary) {
    if (story.pick(2) == 0) rest.begin();
    for (size_t n = 0; n < 5; ++n) {
      const size_t b = story.pick(story.bytes.size());
      for (const auto& [v, value] : rest.take(b)) {
        Bytes got(static_cast<size_t>(value.view.bytes()));
        const compute::Buffer pinned = device.take_pinned(value.view.bytes());
        on.queue().copy(pinned.get(), value.view.data, value.view.bytes());
        on.queue().finish();
        std::memcpy(got.data(), pinned.get(), got.size());
        CHECK(got == story.states[boundary][b].at(v));
      }
    }
  }

  Story& story;
  Services services{"", {}};
  EmulatedDevice device;
  std::unique_ptr<compute::Queue> in, out;
  OnDevice on;
};

TEST_CASE("values come back as they were made, wherever batches rest and however queues are late") {
  TempDir directory;
  std::set<std::string> mixtures;
  for (unsigned seed = 0; seed < 60; ++seed) {
    CAPTURE(seed);
    for (const WorkMode work : {WorkMode::kAtOnce, WorkMode::kOnThread}) {
      Story story(seed);
      OnTiers tiers(work, story);
      Resting resting{.device = story.pick(3) == 0 ? 0 : story.pick(2 * story.total + 1),
                      .pinned = story.pick(3) == 0 ? 0 : story.pick(2 * story.total + 1),
                      .file = directory / "rest",
                      .in = tiers.in.get(),
                      .out = tiers.out.get(),
                      .piece_bytes = kPiece};
      {
        Activations rest(&tiers.on, resting, story.bytes);
        mixtures.insert(text(rest.placement()).substr(0, 1) == "0" ? "none there" : "some there");
        for (size_t block = 0; block < story.blocks.size(); ++block) {
          if (story.pick(4) == 0) tiers.look_at(rest, block);
          tiers.run_block(rest, block);
          if (story.pick(3) == 0) tiers.equal(rest, block + 1);
        }
        tiers.equal(rest, story.blocks.size());
        tiers.look_at(rest, story.blocks.size());
      }
      CHECK(tiers.device.complaints() == std::vector<std::string>());
      CHECK(tiers.device.memory().in_use == 0);
      CHECK(tiers.device.pinned_bytes() == 0);
    }
  }
  CHECK(mixtures.size() == 2);
}

TEST_CASE("values that are written over a run's go on in their place") {
  TempDir directory;
  for (unsigned seed = 0; seed < 30; ++seed) {
    CAPTURE(seed);
    Story story(seed);
    OnTiers tiers(WorkMode::kOnThread, story);
    Activations rest(&tiers.on,
                     {.device = story.pick(2 * story.total + 1),
                      .pinned = story.pick(story.total + 1),
                      .file = directory / "rest",
                      .in = tiers.in.get(),
                      .out = tiers.out.get(),
                      .piece_bytes = kPiece},
                     story.bytes);
    tiers.run_block(rest, 0);
    const size_t from = 1 + story.pick(story.blocks.size() - 1);
    for (size_t b = 0; b < story.bytes.size(); ++b) {
      LiveValues values;
      for (const auto& [v, bytes] : story.states[from][b]) {
        const compute::Buffer pinned = tiers.device.take_pinned(static_cast<int64_t>(bytes.size()));
        std::memcpy(pinned.get(), bytes.data(), bytes.size());
        values[v] = {pinned, view_on(pinned.get(), bytes.size())};
      }
      rest.write(b, values);
    }
    tiers.equal(rest, from);
    for (size_t block = from; block < story.blocks.size(); ++block)
      tiers.run_block(rest, block);
    tiers.equal(rest, story.blocks.size());
  }
}

TEST_CASE("batches fill the device, then pinned memory, then the disk, in their order") {
  std::mt19937 random(1);
  const auto pick = [&](uint64_t below) {
    return std::uniform_int_distribution<uint64_t>(0, below - 1)(random);
  };
  for (int n = 0; n < 3000; ++n) {
    std::vector<uint64_t> bytes(pick(12));
    uint64_t total = 0, largest = 0;
    for (uint64_t& b : bytes) {
      b = 256 * pick(100);
      total += b;
      largest = std::max(largest, b);
    }
    const Resting resting{.device = pick(2 * total + 1),
                          .pinned = pick(2 * total + 1),
                          .file = "f",
                          .piece_bytes = 8192};
    const Placement placement = place(bytes, resting);
    REQUIRE(placement.tiers.size() == bytes.size());
    CHECK(std::is_sorted(placement.tiers.begin(), placement.tiers.end()));
    std::map<Tier, uint64_t> share;
    for (size_t b = 0; b < bytes.size(); ++b)
      share[placement.tiers[b]] += bytes[b];
    CHECK(share[Tier::kDevice] == placement.device.bytes);
    CHECK(share[Tier::kPinned] == placement.pinned.bytes);
    CHECK(share[Tier::kDisk] == placement.disk.bytes);
    if (total <= resting.device) {
      CHECK(placement.device.batches == bytes.size());
      continue;
    }
    // Five batches on their way take room on the device.
    CHECK(share[Tier::kDevice] + std::min(resting.device, 5 * largest) <= resting.device);
    const size_t next = placement.device.batches;
    CHECK(share[Tier::kDevice] + bytes.at(next) + 5 * largest > resting.device);
    if (total - share[Tier::kDevice] <= resting.pinned) {
      CHECK(placement.disk.batches == 0);
    } else {
      CHECK(share[Tier::kPinned] <= resting.pinned);
      CHECK(placement.disk.batches > 0);
    }
  }
  const std::vector<uint64_t> three{256, 256, 256};
  CHECK(text(place(three, {})) == "3 of 3 batches on the device (1 MiB)");
  CHECK(text(place(three, {.device = 0})) ==
        "0 of 3 batches on the device (0 MiB), 3 in pinned memory (1 MiB)");
  CHECK(text(place(three, {.device = 0, .pinned = 0, .file = "f"})) ==
        "0 of 3 batches on the device (0 MiB), 3 on disk (1 MiB)");
}

TEST_CASE("the ring on the device, not the number of batches, bounds what passes through it") {
  TempDir directory;
  constexpr size_t kBytes = 64 << 10;
  for (const bool disk : {false, true}) {
    std::vector<int64_t> peaks;
    for (const size_t batches : {8u, 40u}) {
      EmulatedDevice device({.bytes = int64_t{16} << 20, .work = WorkMode::kOnThread});
      Services services{"", {}};
      const auto in = device.make_queue("in"), out = device.make_queue("out");
      OnDevice on(device.make_queue("compute"), services);
      Activations rest(&on,
                       {.device = 0,
                        .pinned = disk ? 0 : UINT64_MAX,
                        .file = directory / "rest",
                        .in = in.get(),
                        .out = out.get(),
                        .piece_bytes = kPiece},
                       std::vector<uint64_t>(batches, kBytes));
      for (int block = 0; block < 3; ++block) {
        rest.begin();
        for (size_t b = 0; b < batches; ++b)
          rest.put(b, change_on(on.queue(), rest.take(b), {{}, {{block, kBytes}}}));
      }
      peaks.push_back(device.memory().peak);
      CHECK(device.memory().peak <= static_cast<int64_t>(7 * kBytes));
      CHECK((device.pinned_bytes() < static_cast<int64_t>(batches * kBytes)) == disk);
    }
    CHECK(peaks[0] == peaks[1]);
  }
}

TEST_CASE("what the host cannot pin goes to the disk, or is an error where there is none") {
  TempDir directory;
  constexpr uint64_t kBytes = 64 << 10;
  EmulatedDevice device({.pinned_bytes = 256 << 10});
  Services services{"", {}};
  const auto in = device.make_queue("in"), out = device.make_queue("out");
  OnDevice on(device.make_queue("compute"), services);
  const std::vector<uint64_t> batches(6, kBytes);
  Resting resting{.device = 0, .in = in.get(), .out = out.get(), .piece_bytes = kPiece};
  CHECK_THROWS_AS(Activations(&on, resting, batches), Error);
  resting.file = directory / "rest";
  // Six batches were wanted; four fit, and give way to the rings of 256 KiB.
  Activations none(&on, resting, batches);
  CHECK(text(none.placement()) == "0 of 6 batches on the device (0 MiB), 6 on disk (1 MiB)");
  EmulatedDevice roomy({.pinned_bytes = 600 << 10});
  const auto roomy_in = roomy.make_queue("in"), roomy_out = roomy.make_queue("out");
  OnDevice on_roomy(roomy.make_queue("compute"), services);
  resting.in = roomy_in.get(), resting.out = roomy_out.get();
  Activations some(&on_roomy, resting, std::vector<uint64_t>(12, kBytes));
  CHECK(text(some.placement()) ==
        "0 of 12 batches on the device (0 MiB), 5 in pinned memory (1 MiB), 7 on disk (1 MiB)");
  EmulatedDevice more({.pinned_bytes = 300 << 10});
  const auto more_in = more.make_queue("in"), more_out = more.make_queue("out");
  OnDevice on_more(more.make_queue("compute"), services);
  resting.in = more_in.get(), resting.out = more_out.get();
  resting.piece_bytes = 64 << 10;  // rings of 512 KiB
  CHECK_THROWS_AS(Activations(&on_more, resting, batches), Error);
  CHECK(more.pinned_bytes() == 0);
}

TEST_CASE("a disk without room for what is left is refused before the run") {
  TempDir directory;
  Story story(3);
  OnTiers tiers(WorkMode::kAtOnce, story);
  const Resting resting{.device = 0,
                        .pinned = 0,
                        .file = directory / "rest",
                        .keep_free = uint64_t{1} << 60,
                        .in = tiers.in.get(),
                        .out = tiers.out.get()};
  CHECK_THROWS_AS(Activations(&tiers.on, resting, story.bytes), Failure);
}

}  // namespace
}  // namespace mopt::pipeline::test
