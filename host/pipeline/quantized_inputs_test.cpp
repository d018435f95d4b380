#include "host/pipeline/quantized_inputs.hpp"

#include "host/pipeline/block_params.hpp"
#include "host/pipeline/evaluate.hpp"
#include "host/pipeline/on_both_test.hpp"

namespace mopt::pipeline::test {
namespace {

using compute::test::EmulatedDevice;

// Weights and inputs with one scale each, the head too, K and V besides.
constexpr const char* kPerTensor = kCalibrated;
// A scale for each output row and for each token.
constexpr const char* kPerRow = R"([format.channel]
use = "fp8"
granularity = "channel"
[format.token]
use = "fp8"
granularity = "token"
[[quantize.rule]]
id = "linears"
role = ["attn.*", "mlp.*"]
weight = "channel"
input = "token"
)";

struct Coded : OnBoth {
  // A checkpoint by this recipe of a model whose sizes tensor cores take.
  std::unique_ptr<Checkpoint> written(const char* tables, const std::string& bias) {
    write_model({.intermediate = 80, .vocab = 64, .dtype = "BF16", .bias = bias});
    fs::remove_all(path("coded"));
    return Checkpoint::open(registry, run_on(nullptr, tables, "coded"));
  }
  // capability 90: the device multiplies codes; 80: it does not.
  Scores scores(const Checkpoint& checkpoint, EmulatedDevice* device) {
    EvalOptions options;
    options.forward = in_type(kF32);
    if (device != nullptr) options.use(device, services);
    const Scores found =
        evaluate(checkpoint, {random_ids(20, 64, 1), random_ids(9, 64, 2)}, options);
    if (device != nullptr) CHECK(device->complaints() == std::vector<std::string>());
    return found;
  }
  std::set<std::string> refusals;  // of products of codes, while programs were made
  // Of the weights of block 1 on the device.
  int64_t weight_bytes(const Checkpoint& checkpoint, EmulatedDevice& device) {
    OnDevice on(device.make_queue("test"), services);
    ForwardOptions options = in_type(kF32);
    options.on_device = &on;
    options.kernels.queue = &on.queue();
    options.kernels.trace = [&](std::string_view kernel, std::string_view reason) {
      if (kernel == "linear of codes") refusals.emplace(reason);
    };
    BlockParams params(checkpoint, options);
    return BlockProgram(checkpoint, 1, params.options()).weight_bytes();
  }
};

TEST_CASE_FIXTURE(Coded, "a product of codes is that of the values which they stand for") {
  for (const char* tables : {kPerTensor, kPerRow}) {
    for (const char* bias : {"none", "qkvo"}) {
      CAPTURE(tables);
      CAPTURE(bias);
      const auto checkpoint = written(tables, bias);
      EmulatedDevice with({.capability = 90}), without({.capability = 80});
      const Scores cpu = scores(*checkpoint, nullptr);
      // The last bit of a product may make another code of what follows.
      CHECK(scores(*checkpoint, &with).nll == doctest::Approx(cpu.nll).epsilon(1e-4));
      CHECK(scores(*checkpoint, &without).nll == doctest::Approx(cpu.nll).epsilon(1e-4));
      // q, k, v, o, gate, up, down in bytes in place of f32.
      const int64_t elements = 32 * (32 + 16 + 16 + 32) + 3 * 32 * 80;
      const int64_t fewer = weight_bytes(*checkpoint, without) - weight_bytes(*checkpoint, with);
      CHECK(fewer > 3 * elements - 4 * (32 + 16 + 16 + 32 + 80 + 80 + 32) - 1);
      CHECK(fewer < 3 * elements);
    }
  }
}

TEST_CASE_FIXTURE(
    Coded,
    "weights of other forms, and sizes that tensor cores do not take, are multiplied as values") {
  constexpr const char* kBlocks = R"([format.block]
use = "fp8"
granularity = "block"
[[quantize.rule]]
id = "linears"
role = ["attn.*", "mlp.*"]
weight = "block"
)";
  write_model({.intermediate = 72, .vocab = 64, .dtype = "BF16"});
  const auto odd = Checkpoint::open(registry, run_on(nullptr, kPerRow, "odd"));
  const auto blocks = Checkpoint::open(registry, run_on(nullptr, kBlocks, "blocks"));
  EmulatedDevice with({.capability = 90}), without({.capability = 80});
  // q, k, v and o alone.
  const int64_t elements = 32 * (32 + 16 + 16 + 32), scales = 32 + 16 + 16 + 32;
  const int64_t in_bytes = weight_bytes(*odd, with);
  CHECK(refusals == std::set<std::string>{"it takes sizes of a multiple of 16 only"});
  CHECK(weight_bytes(*odd, without) - in_bytes == 3 * elements - 4 * scales);
  CHECK(refusals.contains("the device has no tensor cores for codes"));
  CHECK(weight_bytes(*blocks, without) == weight_bytes(*blocks, with));
  CHECK(scores(*odd, &with).nll == doctest::Approx(scores(*odd, nullptr).nll).epsilon(1e-4));
}

TEST_CASE_FIXTURE(Coded, "codes of a weight come with a scale for all, or for each row") {
  const auto checkpoint = written(kPerRow, "none");
  CHECK(checkpoint->code_scales("model.layers.1.mlp.up_proj.weight") == CodeScales::kRows);
  const WeightCodes codes = checkpoint->codes("model.layers.1.mlp.up_proj.weight");
  CHECK(codes.scales.size() == 80);
  CHECK(shape_text(shape(*codes.codes.get())) == "[80, 32]");
  CHECK_FALSE(checkpoint->code_scales("model.embed_tokens.weight").has_value());
  CHECK_FALSE(source->code_scales("model.layers.1.mlp.up_proj.weight").has_value());
}

}  // namespace
}  // namespace mopt::pipeline::test
