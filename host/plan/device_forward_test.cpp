#include "host/plan/device_forward.hpp"

#include <doctest/doctest.h>

#include "host/plan/plan_test.hpp"

namespace mopt::plan {
namespace {

using namespace test;
using Results = DeviceForward::Results;

constexpr int64_t kKiB = 1024, kMiB = 1024 * kKiB;
// Keeps every block, in the sizes that were asked for.
constexpr compute::MemoryRules kAllKept{kDLCUDA, 0, 1, 1, INT64_MAX, 0, 0};

TEST_CASE("a small block has whole steps of 512 bytes, a large one of two megabytes") {
  PoolModel pool(compute::kCudaMemory);
  CHECK(pool.take(PoolQueue::kCopies, 1).bytes == 512);
  CHECK(pool.take(PoolQueue::kCopies, 513).bytes == 1024);
  CHECK(pool.take(PoolQueue::kCopies, kMiB - 1).bytes == kMiB);
  CHECK(pool.take(PoolQueue::kCopies, kMiB).bytes == 2 * kMiB);
  CHECK(pool.take(PoolQueue::kCopies, 5 * kMiB).bytes == 6 * kMiB);
  CHECK(pool.peak() == 512 + 1024 + 9 * kMiB);
}

TEST_CASE("a kept block serves its queue where it is at most an eighth too large") {
  PoolModel pool(compute::kCudaMemory);
  pool.give(pool.take(PoolQueue::kCompute, 18 * kMiB));
  CHECK(pool.take(PoolQueue::kCopies, 18 * kMiB).bytes == 18 * kMiB);  // a second one
  CHECK(pool.peak() == 36 * kMiB);
  CHECK(pool.take(PoolQueue::kCompute, 14 * kMiB).bytes == 14 * kMiB);
  CHECK(pool.peak() == 50 * kMiB);
  CHECK(pool.take(PoolQueue::kCompute, 16 * kMiB).bytes == 18 * kMiB);
  CHECK(pool.peak() == 50 * kMiB);
}

TEST_CASE("what is huge goes back to the device, and what is kept when a limit needs it") {
  PoolModel pool(compute::kCudaMemory, 700 * kMiB);
  pool.give(pool.take(PoolQueue::kCopies, 600 * kMiB));
  pool.give(pool.take(PoolQueue::kCopies, 400 * kMiB));
  CHECK(pool.peak() == 600 * kMiB);
  const PoolBlock held = pool.take(PoolQueue::kCompute, 300 * kMiB);
  CHECK(pool.peak() == 700 * kMiB);
  pool.take(PoolQueue::kEncode, 350 * kMiB);
  CHECK(pool.peak() == 700 * kMiB);  // the 400 went back
  pool.give(held);
  pool.take(PoolQueue::kEncode, 400 * kMiB);
  CHECK(pool.peak() == 750 * kMiB);  // above the limit: it does not fit
}

struct Measured {
  int64_t peak;
  uint64_t activations;
};

// Six rows of 64 tokens, two at a time: x and y of a batch have 4 KiB, h and a 8, the logits 16;
// ids and positions of all rows 6.
Measured run_mlp(const compute::MemoryRules& rules, int64_t there) {
  const Mlp m;
  PoolModel pool(rules);
  DeviceForward forward(m.model, {6, 64, 2, there, kF32}, pool);
  for (int block = 0; block < 3; ++block)
    forward.run({}, Results::kPassOn);
  return {pool.peak(), forward.activations()};
}

TEST_CASE("a device holds all rows between blocks, and inside a block one batch") {
  const Measured all = run_mlp(compute::kExactMemory, 3);
  CHECK(all.activations == 3 * 4 * kKiB);
  // The head: x of three batches, the logits of one.
  CHECK(all.peak == (6 + 3 * 4 + 16) * kKiB);
  CHECK(run_mlp(compute::kExactMemory, 1).peak == (6 + 4 + 16) * kKiB);
}

TEST_CASE("an activation and a sum are written over what nobody needs afterwards") {
  const Mlp m;
  PoolModel pool(compute::kExactMemory);
  DeviceForward forward(m.model, {2, 64, 2, 1, kF32}, pool);
  forward.run({}, Results::kPassOn);
  CHECK(pool.peak() == (2 + 4) * kKiB);
  forward.run({}, Results::kPassOn);
  // x with n and h, or with a and y; x itself stays as it is until the batch is through.
  CHECK(pool.peak() == (2 + 4 + 4 + 8) * kKiB);
}

TEST_CASE("a pool that keeps blocks holds the most of each size") {
  // x of three batches and n, later y; h; the logits.
  CHECK(run_mlp(kAllKept, 3).peak == (6 + 4 * 4 + 8 + 16) * kKiB);
}

TEST_CASE(
    "a sample of what is observed stays until it is released; the last block drops its rest") {
  const Mlp m;
  PoolModel pool(compute::kExactMemory);
  DeviceForward forward(m.model, {2, 128, 2, 1, kF32}, pool);
  forward.run({}, Results::kPassOn);
  const auto samples = forward.run({m.n, m.h}, Results::kDrop);
  REQUIRE(samples.size() == 2);
  CHECK(samples[0].bytes == 64 * 8 * 4);
  CHECK(samples[1].bytes == 64 * 16 * 4);
  // Of 128 tokens of two rows: x, n and h, with both samples. No y.
  CHECK(pool.peak() == (4 + 8 + 8 + 16 + 2 + 4) * kKiB);
  forward.release(samples);
  pool.take(PoolQueue::kEncode, pool.peak() - 4 * kKiB);  // only the ids are left
  CHECK(pool.peak() == (4 + 8 + 8 + 16 + 2 + 4) * kKiB);
}

TEST_CASE("a queue's first product takes a workspace, once") {
  const Mlp m;
  compute::MemoryRules rules = compute::kExactMemory;
  rules.workspace = 100 * kKiB;
  PoolModel pool(rules);
  DeviceForward forward(m.model, {6, 64, 2, 3, kF32}, pool);
  forward.run({}, Results::kPassOn);
  CHECK(pool.peak() == (6 + 3 * 4) * kKiB);  // an embedding is none
  forward.run({}, Results::kPassOn);
  forward.run({}, Results::kPassOn);
  CHECK(pool.peak() == (100 + 6 + 3 * 4 + 16) * kKiB);
}

}  // namespace
}  // namespace mopt::plan
