#include "host/pipeline/forward.hpp"

#include "host/pipeline/pipeline_test.hpp"
#include "host/plan/forward_cost.hpp"
#include "tests/emulated_device/recording_kernels.hpp"

namespace mopt::pipeline::test {
namespace {

using graph::ValueId;

// ids and positions of rows of one length, as a call takes them.
struct Tokens {
  Tokens(const std::vector<Ids>& rows, int64_t first) {
    for (const Ids& row : rows) {
      for (size_t t = 0; t < row.size(); ++t) {
        ids.push_back(row[t]);
        positions.push_back(first + static_cast<int64_t>(t));
      }
    }
    extents = {static_cast<int64_t>(rows.size()), static_cast<int64_t>(rows[0].size())};
  }
  std::vector<int64_t> ids, positions, extents;
};

// A model with all its blocks prepared.
struct Programs {
  Programs(const Checkpoint& checkpoint, const ForwardOptions& options)
      : graph(checkpoint.required_graph()), pool(std::make_shared<BufferPool>()) {
    for (size_t b = 0; b < graph.blocks.size(); ++b) {
      blocks.emplace_back(checkpoint, b, options);
      caches.emplace_back(blocks[b].attention_ops());
    }
  }
  // The logits [rows, T, V]. With caches the rows go on where the last call ended.
  enum class Cached { kNo, kYes };
  Doubles run(const std::vector<Ids>& rows, int64_t first = 0, Cached cached = Cached::kNo) {
    const Tokens tokens(rows, first);
    Call call;
    call.pool = pool;
    call.observe = observe;
    call.ids = compute::view_of(tokens.ids.data(), kI64, tokens.extents);
    call.positions = compute::view_of(tokens.positions.data(), kI64, tokens.extents);
    for (size_t b = 0; b < blocks.size(); ++b) {
      for (auto& row_caches : caches[b])
        row_caches.resize(rows.size());
      call.caches = cached == Cached::kYes ? &caches[b] : nullptr;
      for (auto& [v, value] : blocks[b].run(call))
        call.inputs[v] = value;
    }
    return doubles(call.inputs.at(graph.outputs.find("logits")->second).view);
  }

  const graph::Model& graph;
  std::shared_ptr<BufferPool> pool;
  std::vector<BlockProgram> blocks;
  std::vector<std::vector<std::vector<KvCache>>> caches;
  std::function<void(ValueId, const compute::View&)> observe;
};

// The values that the linears of a model take, with the names of their weights.
std::multimap<ValueId, std::string> linear_inputs(const graph::Model& model) {
  std::multimap<ValueId, std::string> inputs;
  for (const graph::Op& op : model.ops) {
    if (op.kind == graph::OpKind::kLinear) inputs.emplace(op.in[0], model.param_of(op.in[1])->name);
  }
  return inputs;
}

ValueId input_of(const graph::Model& model, const std::string& weight) {
  for (const auto& [v, name] : linear_inputs(model)) {
    if (name == weight) return v;
  }
  FAIL("no linear has " << weight);
  return 0;
}

TEST_CASE_FIXTURE(Fixture, "all blocks in turn make the logits of the plain forward") {
  struct Row {
    std::string dtype, bias;
    int64_t heads, kv_heads;
    DLDataType computed;
    double tolerance;  // bf16: a step is 2^-8, and errors of 20 ops add up
  };
  for (const Row& row : {Row{"F32", "none", 4, 2, kF32, 2e-6},
                         {"F32", "qkvo", 4, 1, kF32, 2e-6},
                         {"F16", "none", 2, 2, kF32, 2e-6},
                         {"BF16", "none", 4, 2, kBf16, 3e-2}}) {
    CAPTURE(row.dtype);
    CAPTURE(row.bias);
    write_model(
        {.heads = row.heads, .kv_heads = row.kv_heads, .dtype = row.dtype, .bias = row.bias});
    const Ids ids = random_ids(13, 48, 1);
    CHECK(distance(Programs(*source, in_type(row.computed)).run({ids}), plain.run(ids).logits) <
          row.tolerance);
  }
}

TEST_CASE_FIXTURE(Fixture, "what is observed is the inputs of the linears, each once") {
  const std::multimap<ValueId, std::string> inputs = linear_inputs(graph());
  ForwardOptions options = in_type(kF32);
  for (const auto& [v, name] : inputs)
    options.observed.push_back(v);
  Programs programs(*source, options);
  std::map<ValueId, int> calls;
  const Ids ids = random_ids(9, 48, 2);
  const PlainRun want = plain.run(ids);
  std::set<std::string> compared;
  programs.observe = [&](ValueId v, const compute::View& view) {
    ++calls[v];
    const auto [begin, end] = inputs.equal_range(v);
    CHECK(begin != end);
    for (auto it = begin; it != end; ++it) {
      CAPTURE(it->second);
      compared.insert(it->second);
      CHECK(distance(doubles(view), want.values.at(it->second)) < 2e-6);
    }
  };
  programs.run({ids});
  CHECK(compared.size() == 2 * 7 + 1);
  for (const auto& [v, count] : calls)
    CHECK(count == 1);
}

TEST_CASE_FIXTURE(Fixture, "ops that lead nowhere wanted are neither prepared nor run") {
  const size_t block = 1;
  const auto program = [&](const std::string& observed) {
    ForwardOptions options = in_type(kF32);
    options.wanted.emplace();
    options.observed = {input_of(graph(), observed)};
    return BlockProgram(*source, block, options);
  };
  const BlockProgram at_q = program("model.layers.0.self_attn.q_proj.weight");
  CHECK(at_q.weight_bytes() == 32 * sizeof(float));  // the norm alone
  CHECK(at_q.attention_ops() == 0);
  CHECK(at_q.token_wise());
  const BlockProgram at_o = program("model.layers.0.self_attn.o_proj.weight");
  const int64_t qkv = (32 + 16 + 16) * 32 * sizeof(float);
  CHECK(at_o.weight_bytes() >= at_q.weight_bytes() + qkv);
  CHECK(at_o.attention_ops() == 1);
  CHECK_FALSE(at_o.token_wise());
  const BlockProgram all(*source, block, in_type(kF32));
  CHECK(all.weight_bytes() >= at_o.weight_bytes() + (32 + 3 * 64) * 32 * 4);

  // Values before and after the one observed are not shown.
  Programs first(*source, in_type(kF32));
  const Tokens tokens({random_ids(5, 48, 3)}, 0);
  Call call;
  call.pool = first.pool;
  call.ids = compute::view_of(tokens.ids.data(), kI64, tokens.extents);
  call.positions = compute::view_of(tokens.positions.data(), kI64, tokens.extents);
  call.inputs = first.blocks[0].run(call);
  int seen = 0;
  call.observe = [&](ValueId, const compute::View&) { ++seen; };
  CHECK(at_q.run(call).empty());
  CHECK(seen == 1);
}

// The kernels of one run of each block.
std::vector<size_t> steps(const Programs& programs) {
  std::vector<size_t> out;
  for (const BlockProgram& block : programs.blocks)
    out.push_back(block.steps());
  return out;
}

TEST_CASE_FIXTURE(Fixture, "a product with an activation is one step that makes the same bits") {
  for (const std::string dtype : {"F32", "BF16"}) {
    CAPTURE(dtype);
    write_model({.dtype = dtype});
    const ForwardOptions joined = in_type(dtype == "F32" ? kF32 : kBf16);
    Programs together(*source, joined);
    const std::vector<Ids> rows{random_ids(9, 48, 4), random_ids(9, 48, 5)};
    const Doubles want = together.run(rows);
    for (const std::string half : {"activation.highway", "elementwise.highway"}) {
      ForwardOptions options = joined;
      options.kernels.forced = {half};
      Programs apart(*source, options);
      std::vector<size_t> count = steps(apart);
      --count[1], --count[2];  // the layers
      CHECK(count == steps(together));
      CHECK(apart.run(rows) == want);
    }
  }
}

TEST_CASE_FIXTURE(Fixture, "an activation that is looked at or wanted is an op of its own") {
  const size_t block = 1;
  ValueId activated = 0, product = 0;
  const graph::Block& b = graph().blocks[block];
  for (size_t i = b.first_op; i < b.end_op; ++i) {
    const graph::Op& op = graph().ops[i];
    if (op.kind == graph::OpKind::kActivation) activated = op.out;
    if (op.kind == graph::OpKind::kMul) product = op.out;
  }
  const auto count = [&](std::vector<ValueId> observed, std::vector<ValueId> wanted) {
    ForwardOptions options = in_type(kF32);
    options.observed = std::move(observed);
    options.wanted = std::move(wanted);
    return BlockProgram(*source, block, options).steps();
  };
  const size_t joined = count({}, {product});
  CHECK(count({product}, {}) == joined);
  CHECK(count({activated}, {product}) == joined + 1);
  CHECK(count({}, {product, activated}) == joined + 1);
}

TEST_CASE_FIXTURE(Fixture, "a block holds the weights that the plan counts") {
  for (const std::string dtype : {"F32", "F16", "BF16"}) {
    CAPTURE(dtype);
    // Extents of 64: no layout pads them.
    write_model({.hidden = 64, .intermediate = 128, .kv_heads = 4, .vocab = 64, .dtype = dtype});
    const DLDataType type = dtype == "BF16" ? kBf16 : kF32;
    const size_t blocks = graph().blocks.size();
    for (size_t b = 0; b < blocks; ++b) {
      const auto counted =
          plan::block_weights(graph(), source->container(), b, type, {blocks - 1, {}});
      const BlockProgram program(*source, b, in_type(type));
      CHECK(program.weight_bytes() == static_cast<int64_t>(counted.prepared));
    }
  }
}

TEST_CASE_FIXTURE(Fixture, "rows that run together are as rows that run alone") {
  for (const std::string dtype : {"F32", "BF16"}) {
    CAPTURE(dtype);
    write_model({.dtype = dtype});
    Programs programs(*source, in_type(dtype == "F32" ? kF32 : kBf16));
    const Ids a = random_ids(11, 48, 4), b = random_ids(11, 48, 5);
    Doubles alone = programs.run({a});
    const Doubles second = programs.run({b});
    alone.insert(alone.end(), second.begin(), second.end());
    CHECK(distance(programs.run({a, b}), alone) < (dtype == "F32" ? 2e-6 : 3e-2));
  }
}

TEST_CASE_FIXTURE(Fixture, "with a cache each step's logits are those of the full forward") {
  const Ids a = random_ids(12, 48, 6), b = random_ids(12, 48, 7);
  const PlainRun full_a = plain.run(a), full_b = plain.run(b);
  Programs programs(*source, in_type(kF32));
  const auto part = [](const auto& all, size_t begin, size_t end, size_t width) {
    using List = std::decay_t<decltype(all)>;
    return List(all.begin() + static_cast<std::ptrdiff_t>(begin * width),
                all.begin() + static_cast<std::ptrdiff_t>(end * width));
  };
  size_t at = 0;
  for (const size_t count : {5u, 1u, 1u, 3u, 2u}) {
    CAPTURE(at);
    const Doubles got = programs.run({part(a, at, at + count, 1), part(b, at, at + count, 1)},
                                     static_cast<int64_t>(at), Programs::Cached::kYes);
    Doubles want = part(full_a.logits, at, at + count, 48);
    const Doubles second = part(full_b.logits, at, at + count, 48);
    want.insert(want.end(), second.begin(), second.end());
    CHECK(distance(got, want) < 2e-6);
    at += count;
  }
}

TEST_CASE_FIXTURE(Fixture, "kernels of a block are chosen without anything being run") {
  compute::test::EmulatedDevice device({.kernels = &compute::test::recording_kernels()});
  OnDevice on(device.make_queue("test"), services);
  write_model({.dtype = "BF16"});
  ForwardOptions options = in_type(kBf16);
  options.on_device = &on;
  options.kernels.queue = &on.queue();
  options.param = [&](const std::string& name) {
    for (const graph::Param& p : graph().params) {
      if (p.name == name) return compute::view_of(compute::aligned_address(), kBf16, p.dims);
    }
    return compute::View{};
  };
  compute::test::take_recorded();
  BlockProgram(*source, 1, options).foresee(options.kernels, 3, 20);
  const auto product = [](const std::string& k, const std::string& n) {
    return "linear bf16 [60, " + k + "] bf16 [" + n + ", " + k + "] bf16 [60, " + n + "]";
  };
  CHECK(compute::test::take_recorded().asked ==
        std::vector<std::string>{product("32", "32"), product("32", "16"), product("32", "16"),
                                 "attention bf16 [3, 20, 4, 8] bf16 [3, 20, 2, 8]",
                                 product("32", "32"), product("32", "64"), product("32", "64"),
                                 product("64", "32")});
  CHECK(device.works() == 0);
}

}  // namespace
}  // namespace mopt::pipeline::test
