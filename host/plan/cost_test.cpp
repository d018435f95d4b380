#include "host/plan/cost.hpp"

#include <doctest/doctest.h>

#include "host/plan/forward_cost.hpp"
#include "host/plan/plan_test.hpp"
#include "tests/model_files.hpp"

namespace mopt::plan {
namespace {

using namespace test;
using graph::OpKind;
using graph::ValueId;

constexpr uint64_t kKiB = 1024;

TEST_CASE("a forward holds every row between blocks, and inside a block the rows in work") {
  const Mlp m;
  const auto memory = forward_memory(m.model, {3, 64, 2, kF32}, {2, {}});
  REQUIRE(memory.size() == 3);
  for (const ForwardMemory& block : memory)
    CHECK(block.live == 3 * 2 * kKiB);
  CHECK(memory[0].held == 3 * 2 * kKiB);
  // x0 of three rows; of each of two threads n, then h and a, then y, then y and x1: two of 2 KiB
  // and two of 4 KiB.
  CHECK(memory[1].held == 3 * 2 * kKiB + 2 * (2 * 2 + 2 * 4) * kKiB);
  // What was held stays in the pool, only the logits are of a new size.
  CHECK(memory[2].held == memory[1].held + 2 * 8 * kKiB);
}

TEST_CASE("more threads than rows hold no more") {
  const Mlp m;
  const auto one = forward_memory(m.model, {1, 64, 1, kF32}, {2, {}});
  const auto many = forward_memory(m.model, {1, 64, 16, kF32}, {2, {}});
  for (size_t b = 0; b < 3; ++b)
    CHECK(one[b].held == many[b].held);
  CHECK(one[1].held == (2 + 2 * 2 + 2 * 4) * kKiB);
}

TEST_CASE("a forward that ends at a value leaves out what leads elsewhere") {
  const Mlp m;
  const auto to_h = forward_memory(m.model, {3, 64, 2, kF32}, {1, {m.h}});
  REQUIRE(to_h.size() == 2);
  CHECK(to_h[1].held == 3 * 2 * kKiB + 2 * (2 + 4) * kKiB);
  const auto to_n = forward_memory(m.model, {3, 64, 2, kF32}, {1, {m.n}});
  CHECK(to_n[1].held == 3 * 2 * kKiB + 2 * 2 * kKiB);
}

TEST_CASE("a buffer is a multiple of 256 bytes, and a narrow type takes half of a wide one") {
  const Mlp m;
  CHECK(forward_memory(m.model, {1, 1, 1, kF32}, {0, {}})[0].held == 256);  // 32 bytes
  CHECK(forward_memory(m.model, {1, 9, 1, kF32}, {0, {}})[0].held == 512);  // 288 bytes
  CHECK(forward_memory(m.model, {1, 64, 1, kBf16}, {0, {}})[0].held == kKiB);
}

TEST_CASE("a value that a later block takes is kept until then, a reshape has no bytes") {
  Tiny t;
  const ValueId ids = t.value({kB, kT});
  const ValueId x = t.op(OpKind::kEmbedding, {ids, t.param("table", {32, 8})}, {kB, kT, 8});
  t.block({}, {x});
  const ValueId split = t.op(OpKind::kReshape, {x}, {kB, kT, 2, 4});
  const ValueId y = t.op(OpKind::kActivation, {split}, {kB, kT, 2, 4});
  t.block({x}, {y});
  const ValueId z = t.op(OpKind::kAdd, {x, y}, {kB, kT, 8});
  t.block({x, y}, {z});
  const auto memory = forward_memory(t.model, {2, 64, 1, kF32}, {2, {}});
  CHECK(memory[0].live == 2 * 2 * kKiB);
  CHECK(memory[1].live == 2 * 2 * 2 * kKiB);  // x and y of two rows
  CHECK(memory[1].held == 4 * 2 * kKiB);
  CHECK(memory[2].held == 5 * 2 * kKiB);  // and z of the row in work
}

// Attention of two query heads over one of keys, all of size 4.
struct Attention : Tiny {
  Attention() {
    const ValueId ids = value({kB, kT});
    const ValueId table = param("table", {32, 8}), narrow = param("kv", {32, 4});
    const ValueId q = op(OpKind::kEmbedding, {ids, table}, {kB, kT, 2, 4});
    const ValueId k = op(OpKind::kEmbedding, {ids, narrow}, {kB, kT, 1, 4});
    const ValueId v = op(OpKind::kEmbedding, {ids, narrow}, {kB, kT, 1, 4});
    block({}, {op(OpKind::kAttention, {q, k, v}, {kB, kT, 2, 4})});
  }
};

TEST_CASE("attention needs a tile of scores, and the rows' keys and values once more") {
  const Attention m;
  const uint64_t buffers = 2 * 2 * kKiB + 2 * kKiB;  // q and the result, k and v
  const uint64_t packed = 2 * kKiB, scores = 96 * 64 * 4, queries = 96 * 4 * 8, angles = 64 * 4 * 4;
  const uint64_t one = forward_memory(m.model, {4, 64, 1, kF32}, {0, {}})[0].held;
  CHECK(one == buffers + packed + scores + queries + angles);
  CHECK(forward_memory(m.model, {4, 64, 3, kF32}, {0, {}})[0].held == 3 * one);
  // Of long rows the scores of a tile stop growing.
  const auto scratch = [&](int64_t tokens) {
    const auto held = forward_memory(m.model, {1, tokens, 1, kF32}, {0, {}})[0].held;
    return held - static_cast<uint64_t>(tokens) * (8 + 8 + 4 + 4 + 4 + 4 + 4) * 4;
  };
  CHECK(scratch(2048) == 768 * kKiB + queries);
  CHECK(scratch(1 << 16) == scratch(2048));
}

TEST_CASE("a token's keys and values are counted in each attention") {
  Attention m;
  CHECK(cache_bytes_per_token(m.model, kBf16) == (4 + 4) * 2);
  m.model.ops.push_back(m.model.ops.back());
  CHECK(cache_bytes_per_token(m.model, kF32) == 2 * (4 + 4) * 4);
  CHECK(cache_bytes_per_token(Mlp().model, kF32) == 0);
}

// The Mlp's weights on the disk.
struct Stored : Mlp {
  Services services{"", {}};
  Registry registry{{{}, {MOPT_PLUGINS}, 0}, services};
  mopt::test::TempDir dir;
  Container open(const std::string& dtype, int64_t vocabulary = 32) {
    std::vector<mopt::test::FileTensor> tensors;
    for (const graph::Param& p : model.params) {
      std::vector<int64_t> shape = p.dims;
      if (shape[0] == 32) shape[0] = vocabulary;
      tensors.push_back(mopt::test::random_tensor(p.name, dtype, shape));
    }
    mopt::test::write_safetensors(dir / "model.safetensors", tensors);
    return Container::open(registry, dir.path());
  }
};

constexpr uint64_t kUp = 16 * 8, kBias = 8, kNorm = 8;

TEST_CASE_FIXTURE(Stored,
                  "weights in the kernels' type are held beside their source while packed") {
  const Container source = open("F32");
  const BlockWeights w = block_weights(model, source, 1, kF32, {2, {}});
  CHECK(w.prepared == (2 * kUp + kBias + kNorm) * 4);
  // The second product: what is there, its pages and its packed form.
  CHECK(w.peak == (kNorm + kUp) * 4 + 2 * kUp * 4);
}

TEST_CASE_FIXTURE(Stored, "weights of another type are held twice more while packed") {
  const Container source = open("BF16");
  const BlockWeights w = block_weights(model, source, 1, kF32, {2, {}});
  CHECK(w.prepared == (2 * kUp + kBias + kNorm) * 4);
  CHECK(w.peak == (kNorm + kUp) * 4 + kUp * (2 + 4 + 4));
}

TEST_CASE_FIXTURE(Stored, "a block that ends at a value holds the weights before it") {
  const Container source = open("F32");
  CHECK(block_weights(model, source, 1, kF32, {1, {n}}).prepared == kNorm * 4);
  CHECK(block_weights(model, source, 1, kF32, {1, {h}}).prepared == (kNorm + kUp) * 4);
  // Only the last block ends there.
  CHECK(block_weights(model, source, 2, kF32, {2, {logits}}).prepared == 32 * 8 * 4);
  CHECK(block_weights(model, source, 1, kF32, {2, {logits}}).prepared ==
        (2 * kUp + kBias + kNorm) * 4);
}

TEST_CASE_FIXTURE(Stored, "a table is read in place from a megabyte on, a smaller one is copied") {
  constexpr int64_t kMegabyte = 1 << 20;
  const auto table = [&](int64_t rows, DLDataType dtype) {
    const Container source = open("F32", rows);
    return block_weights(model, source, 0, dtype, {2, {}}).prepared;
  };
  CHECK(table(kMegabyte / 32, kF32) == 0);
  CHECK(table(kMegabyte / 32 - 1, kF32) == kMegabyte - 32);
  CHECK(table(kMegabyte / 32, kBf16) == kMegabyte / 2);  // in another type it is always a copy
}

}  // namespace
}  // namespace mopt::plan
