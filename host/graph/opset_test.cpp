#include "host/graph/opset.hpp"

#include <doctest/doctest.h>

namespace mopt::graph {
namespace {

constexpr int64_t kB = MOPT_DIM_BATCH, kT = MOPT_DIM_TIME;

Dims infer(std::string_view op, std::vector<Dims> in, Attributes given = {}) {
  const OpSchema& schema = *find_op(op);
  return schema.infer(in, complete(schema, std::move(given)));
}

Dims reshape(Dims from, Dims to) {
  return infer("reshape", {std::move(from)}, {{"dims", std::move(to)}});
}

TEST_CASE("every op of the opset is found by its name and by its kind") {
  for (const char* name : {"embedding", "linear", "rms_norm", "reshape", "rope", "attention",
                           "activation", "add", "mul"}) {
    const OpSchema* schema = find_op(name);
    REQUIRE(schema != nullptr);
    CHECK(op_name(schema->kind) == name);
    CHECK(&schema_of(schema->kind) == schema);
  }
  CHECK(find_op("conv") == nullptr);
}

TEST_CASE("shapes follow the operands") {
  CHECK(infer("embedding", {{kB, kT}, {50, 8}}) == Dims{kB, kT, 8});
  CHECK(infer("linear", {{kB, kT, 8}, {3, 8}}) == Dims{kB, kT, 3});
  CHECK(infer("linear", {{kB, kT, 8}, {3, 8}, {3}}) == Dims{kB, kT, 3});
  CHECK(infer("rms_norm", {{kB, kT, 8}, {8}}, {{"eps", 1e-5}}) == Dims{kB, kT, 8});
  CHECK(infer("attention", {{kB, kT, 4, 8}, {kB, kT, 2, 8}, {kB, kT, 2, 8}}, {{"scale", 1.0}}) ==
        Dims{kB, kT, 4, 8});
}

TEST_CASE("operands that do not fit are refused") {
  CHECK_THROWS_AS(infer("embedding", {{kB}, {50, 8}}), Error);
  CHECK_THROWS_AS(infer("linear", {{kB, kT, 8}, {3, 9}}), Error);
  CHECK_THROWS_AS(infer("linear", {{kB, kT, 8}, {3, 8}, {8}}), Error);
  CHECK_THROWS_AS(infer("linear", {{}, {3, 8}}), Error);
  CHECK_THROWS_AS(infer("rms_norm", {{kB, kT, 8}, {9}}, {{"eps", 1e-5}}), Error);
  CHECK_THROWS_AS(infer("add", {{kB, kT, 8}, {kB, kT, 1}}), Error);
  const Attributes scale{{"scale", 1.0}};
  CHECK_THROWS_AS(infer("attention", {{kB, kT, 3, 8}, {kB, kT, 2, 8}, {kB, kT, 2, 8}}, scale),
                  Error);
  CHECK_THROWS_AS(infer("attention", {{kB, kT, 4, 8}, {kB, kT, 2, 8}, {kB, kT, 4, 8}}, scale),
                  Error);
}

TEST_CASE("reshape keeps with 0, infers one -1, and changes no number of elements") {
  CHECK(reshape({kB, kT, 12}, {0, 0, 3, 4}) == Dims{kB, kT, 3, 4});
  CHECK(reshape({kB, kT, 12}, {0, 0, -1, 4}) == Dims{kB, kT, 3, 4});
  CHECK(reshape({kB, kT, 3, 4}, {0, 0, -1}) == Dims{kB, kT, 12});
  CHECK_THROWS_AS(reshape({kB, kT, 12}, {0, 0, 5}), Error);
  CHECK_THROWS_AS(reshape({kB, kT, 12}, {0, 0, -1, 5}), Error);
  CHECK_THROWS_AS(reshape({kB, kT, 12}, {0, 0, -1, -1}), Error);
  CHECK_THROWS_AS(reshape({kB, kT, 12}, {0, 12}), Error);
  CHECK_THROWS_AS(reshape({kB, kT, 12}, {0, 0, 0, 0}), Error);
  CHECK_THROWS_AS(reshape({kB, kT, 12}, {0, 0, -3, -4}), Error);
}

TEST_CASE("reshape survives zero and overflowing extents") {
  CHECK_THROWS_AS(reshape({kB, kT, 12}, {0, 0, int64_t{1} << 62, 8}), Error);
  CHECK_THROWS_AS(reshape({kB, kT, 0}, {0, 0, 0, -1, 4}), Error);
}

TEST_CASE("rope turns an even part of the head, attention sees a window of no negative size") {
  const std::vector<Dims> x{{kB, kT, 2, 8}, {kB, kT}};
  const auto rope = [&](int64_t rotary) {
    return infer("rope", x, {{"theta", 1e4}, {"rotary_dim", rotary}});
  };
  CHECK(rope(0) == x[0]);
  CHECK(rope(4) == x[0]);
  CHECK_THROWS_AS(rope(3), Error);
  CHECK_THROWS_AS(rope(10), Error);
  CHECK_THROWS_AS(rope(-2), Error);
  const std::vector<Dims> qkv(3, Dims{kB, kT, 2, 8});
  CHECK_THROWS_AS(infer("attention", qkv, {{"scale", 1.0}, {"window", int64_t{-1}}}), Error);
}

TEST_CASE("attributes are completed, converted and checked") {
  const OpSchema& rope = *find_op("rope");
  const Attributes full = complete(rope, {{"theta", int64_t{10000}}});
  CHECK(std::get<double>(full.at("theta")) == 10000.0);
  CHECK(std::get<std::string>(full.at("scaling")) == "none");
  CHECK(full.size() == rope.attributes.size());
  CHECK_THROWS_AS(complete(rope, {}), Error);
  CHECK_THROWS_AS(complete(rope, {{"theta", std::string("big")}}), Error);
  CHECK_THROWS_AS(complete(rope, {{"theta", 1e4}, {"scaling", std::string("magic")}}), Error);
  CHECK_THROWS_AS(complete(rope, {{"theta", 1e4}, {"thata", 1e4}}), Error);
}

}  // namespace
}  // namespace mopt::graph
