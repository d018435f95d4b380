#include "layout.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <random>

#include "mopt/tensor.hpp"

using namespace mopt;
using mopt::safetensors::Layout;
using mopt::safetensors::make_layout;
using mopt::safetensors::predict_bytes;
using nlohmann::json;

namespace {

struct Plan {
  std::vector<std::string> names;
  std::vector<std::vector<int64_t>> shapes;
  std::vector<DLDataType> dtypes;
  std::vector<mopt_tensor_decl> decls;
  uint64_t shard_bytes = 0;

  void add(std::string name, DLDataType dtype, std::vector<int64_t> shape) {
    names.push_back(std::move(name));
    dtypes.push_back(dtype);
    shapes.push_back(std::move(shape));
  }
  mopt_write_plan abi() {
    decls.clear();
    for (size_t i = 0; i < names.size(); ++i) {
      decls.push_back({sizeof(mopt_tensor_decl), dtypes[i], str(names[i]), shapes[i].data(),
                       static_cast<int32_t>(shapes[i].size()), 0});
    }
    return {sizeof(mopt_write_plan), 0, str(""), decls.data(), decls.size(), shard_bytes};
  }
};

// Without data every offset is "0", so that a header's length is the sum of its entries'.
Plan empty_tensors(int n) {
  Plan plan;
  for (int i = 0; i < n; ++i)
    plan.add("model.layers." + std::to_string(i) + ".weight", kBf16, {0, 64});
  return plan;
}

Plan random_tensors(std::mt19937& random) {
  constexpr DLDataType kTypes[] = {kU8, kBf16, kF32, kI64};
  Plan plan;
  const auto draw = [&](unsigned n) { return static_cast<int64_t>(random() % n); };
  for (int64_t i = 0, n = draw(60); i < n; ++i) {
    std::string name = "t" + std::to_string(i);
    if (draw(4) == 0) name += "\"\\\n\xC3\xA9\x7F";
    std::vector<int64_t> shape(static_cast<size_t>(draw(4)));
    for (int64_t& extent : shape)
      extent = draw(120);
    plan.add(name, kTypes[draw(4)], std::move(shape));
  }
  plan.shard_bytes = random() % 2 == 0 ? 0 : random() % 100'000;
  return plan;
}

uint64_t header_length(const safetensors::Shard& shard) {
  uint64_t length = 0;
  std::memcpy(&length, shard.head.data(), 8);
  REQUIRE(length == shard.head.size() - 8);
  return length;
}

}  // namespace

TEST_CASE("layout: a header of exactly the limit is one file, a byte less begins a second") {
  Plan plan = empty_tensors(100);
  const Layout whole = make_layout(plan.abi());
  REQUIRE(whole.shards.size() == 1);
  const uint64_t header = header_length(whole.shards[0]);
  CHECK(make_layout(plan.abi(), header).shards.size() == 1);
  const Layout divided = make_layout(plan.abi(), header - 1);
  REQUIRE(divided.shards.size() == 2);
  CHECK(divided.slots[98].shard == 0);
  CHECK(divided.slots[99].shard == 1);
  CHECK(divided.shards[1].final_name == "model-00002-of-00002.safetensors");
  CHECK(json::parse(divided.index)["weight_map"]["model.layers.99.weight"] ==
        "model-00002-of-00002.safetensors");
}

TEST_CASE("layout: under every limit headers keep to it, and the prediction is exact") {
  std::mt19937 random(7);
  int divided = 0;
  for (int round = 0; round < 300; ++round) {
    Plan plan = random_tensors(random);
    const uint64_t limit = 400 + random() % 8000;
    CAPTURE(round);
    const Layout layout = make_layout(plan.abi(), limit);
    CHECK(predict_bytes(plan.abi(), limit) == layout.bytes());
    divided += layout.shards.size() > 1;
    std::vector<std::string> found;
    for (const safetensors::Shard& shard : layout.shards) {
      CHECK(header_length(shard) <= limit);
      const json header = json::parse(shard.head.substr(8));
      uint64_t data = 0;
      for (const auto& [name, entry] : header.items()) {
        if (name == "__metadata__") continue;
        found.push_back(name);
        data = std::max(data, entry["data_offsets"][1].get<uint64_t>());
        if (layout.index.empty()) continue;
        CHECK(json::parse(layout.index)["weight_map"][name] == shard.final_name);
      }
      CHECK(shard.size == shard.head.size() + data);
    }
    std::ranges::sort(found);
    std::vector<std::string> wanted = plan.names;
    std::ranges::sort(wanted);
    CHECK(found == wanted);
  }
  CHECK(divided > 100);
}

// The bound of a header gives every offset the digits of the last one.
TEST_CASE("layout: a shard is divided only when one more entry might not fit") {
  Plan plan;
  for (int i = 0; i < 500; ++i)
    plan.add("t" + std::to_string(1000 + i), kF32, {25});
  constexpr uint64_t kLimit = 10'000;
  const Layout layout = make_layout(plan.abi(), kLimit);
  REQUIRE(layout.shards.size() > 2);
  const std::string entry = R"(,"t1000":{"dtype":"F32","shape":[25],"data_offsets":[12345,12345]})";
  for (size_t i = 0; i + 1 < layout.shards.size(); ++i) {
    const auto in_shard = static_cast<uint64_t>(
        std::ranges::count(layout.slots, static_cast<uint32_t>(i), &safetensors::Slot::shard));
    CAPTURE(i);
    CHECK((in_shard + 1) * entry.size() + 40 > kLimit);
  }
}

TEST_CASE("layout: a tensor whose own entry exceeds the limit is refused by name") {
  Plan plan = empty_tensors(3);
  // 31 bytes before the entry, 553 of it with its comma, a brace, and 7 spaces.
  plan.add(std::string(500, 'x'), kBf16, {1});
  for (const bool predicted : {false, true}) {
    try {
      predicted ? void(predict_bytes(plan.abi(), 400)) : void(make_layout(plan.abi(), 400));
      FAIL("no error");
    } catch (const Error& e) {
      CHECK(e.code() == MOPT_INVALID_ARGUMENT);
      CHECK(e.where() == plan.names[3]);
      CHECK(std::string(e.what()).find("at most 400 bytes, found 592 for this tensor alone") !=
            std::string::npos);
    }
  }
  CHECK(make_layout(plan.abi(), 592).shards.size() == 2);
}
