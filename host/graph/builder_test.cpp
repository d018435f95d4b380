#include "host/graph/builder.hpp"

#include <doctest/doctest.h>

#include "mopt/adapter.hpp"

namespace mopt::graph {
namespace {

constexpr int64_t kB = MOPT_DIM_BATCH, kT = MOPT_DIM_TIME;

// An embedding, one residual layer, a head.
struct Tiny {
  Builder builder;
  Graph g{builder.abi()};
  mopt_val ids = g.input("ids", kI64, {kB, kT});
  mopt_val positions = g.input("positions", kI64, {kB, kT});
  mopt_val table = 0, x = 0, logits = 0;

  void embed() {
    g.begin_block("embed", 0);
    table = g.param("embed.weight", {10, 4}, "embed");
    x = g.op("embedding", "embed", {ids, table});
    g.end_block();
  }
  void layer(int64_t index) {
    const std::string name = "layers." + std::to_string(index);
    g.begin_block("decoder", index);
    const mopt_val y = g.linear(x, name + ".proj", 4, 4, "mlp.up");
    x = g.add(x, g.activation(y, "silu"));
    g.end_block();
  }
  void head() {
    g.begin_block("head", 0);
    logits = g.op("linear", "head", {x, table});
    g.end_block();
    g.output("logits", logits);
  }
  Model finish() { return builder.finish("tiny"); }
  std::string fault() {
    try {
      finish();
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }
};

bool mentions(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_CASE_FIXTURE(Tiny, "a value made in one block and used in another leaves and enters") {
  embed();
  layer(0);
  layer(1);
  head();
  const Model m = finish();
  REQUIRE(m.blocks.size() == 4);
  CHECK(m.blocks[0].live_in.empty());
  CHECK(m.blocks[0].live_out == m.blocks[1].live_in);
  CHECK(m.blocks[1].live_out == m.blocks[2].live_in);
  CHECK(m.blocks[1].live_in.size() == 1);
  CHECK(m.blocks[3].live_out == std::vector<ValueId>{logits});
  CHECK(m.blocks[2].name() == "decoder.1");
}

TEST_CASE_FIXTURE(Tiny,
                  "a parameter that two blocks use belongs to the first and is listed in both") {
  embed();
  layer(0);
  head();
  const Model m = finish();
  REQUIRE(m.params.size() == 2);
  CHECK(m.params[0].name == "embed.weight");
  CHECK(m.params[0].block == 0);
  CHECK(m.params[0].role == "embed");
  CHECK(m.blocks[0].params == std::vector<int>{0});
  CHECK(m.blocks[1].params == std::vector<int>{1});
  CHECK(m.blocks[2].params == std::vector<int>{0});
}

TEST_CASE_FIXTURE(Tiny,
                  "asking twice for a parameter gives one value; with two shapes it is a fault") {
  CHECK(g.param("w", {2, 3}, "a") == g.param("w", {2, 3}, "b"));
  CHECK(g.param("w", {3, 2}, "a") == 0);
  CHECK(mentions(fault(), "[3, 2] and [2, 3]"));
}

TEST_CASE_FIXTURE(Tiny, "the first fault is reported with its op, whatever follows") {
  embed();
  g.begin_block("decoder", 0);
  const mopt_val bad = g.op("linear", "wrong", {x, g.param("w", {4, 5}, "")});
  CHECK(bad == 0);
  CHECK(g.add(bad, x) == 0);
  g.op("no_such_op", "later", {x});
  g.end_block();
  head();
  const std::string text = fault();
  CHECK(mentions(text, "op 'linear' wrong"));
  CHECK(mentions(text, "last extent is 5"));
  CHECK_FALSE(mentions(text, "no_such_op"));
}

TEST_CASE_FIXTURE(Tiny, "an op outside of a block, a nested block and an open one are faults") {
  SUBCASE("outside") {
    g.op("embedding", "e", {ids, g.param("w", {2, 3}, "")});
    CHECK(mentions(fault(), "outside of any block"));
  }
  SUBCASE("nested") {
    g.begin_block("a", 0);
    g.begin_block("b", 0);
    CHECK(mentions(fault(), "do not nest"));
  }
  SUBCASE("open") {
    embed();
    g.begin_block("a", 0);
    g.output("logits", x);
    CHECK(mentions(fault(), "left a block open"));
  }
}

TEST_CASE("extents of zero, which a damaged configuration asks for, are faults and no crash") {
  for (const int64_t bad : {int64_t{0}, int64_t{-5}}) {
    Tiny t;
    t.embed();
    t.g.param("w", {4, bad}, "");
    CHECK(mentions(t.fault(), "above zero"));
  }
}

TEST_CASE_FIXTURE(Tiny, "the host feeds ids and positions, once each") {
  SUBCASE("another") {
    CHECK(g.input("pixels", kF32, {kB, 3}) == 0);
    CHECK(mentions(fault(), "input 'pixels'"));
  }
  SUBCASE("twice") {
    CHECK(g.input("ids", kI64, {kB, kT}) == 0);
    CHECK(mentions(fault(), "declared twice"));
  }
}

TEST_CASE_FIXTURE(Tiny, "logits are [B, T, V] of the last block") {
  SUBCASE("missing") {
    embed();
    CHECK(mentions(fault(), "no output 'logits'"));
  }
  SUBCASE("from an earlier block") {
    embed();
    g.output("logits", x);
    layer(0);
    CHECK(mentions(fault(), "of the last block"));
  }
  SUBCASE("an input") {
    embed();
    g.output("logits", ids);
    CHECK(mentions(fault(), "of the last block"));
  }
}

TEST_CASE_FIXTURE(Tiny, "the printed graph names blocks, ops, operands and extents") {
  embed();
  layer(0);
  head();
  CHECK(print(finish()) ==
        "model tiny\n"
        "block embed.0\n"
        "  %4 = embedding(ids, embed.weight) [B, T, 4]\n"
        "block decoder.0\n"
        "  %6 = linear(%4, layers.0.proj.weight) [B, T, 4]\n"
        "  %7 = activation(%6) {kind=silu} [B, T, 4]\n"
        "  %8 = add(%4, %7) [B, T, 4]\n"
        "block head.0\n"
        "  %9 = linear(%8, embed.weight) [B, T, 10]\n"
        "output logits = %9\n");
}

TEST_CASE("a graph of many parameters is built in less than a second") {
  Tiny t;
  t.embed();
  t.g.begin_block("decoder", 0);
  for (int i = 0; i < 100'000; ++i)
    t.g.param("w" + std::to_string(i), {4, 4}, "mlp.up");
  t.g.end_block();
  t.head();
  CHECK(t.finish().params.size() == 100'001);
}

}  // namespace
}  // namespace mopt::graph
