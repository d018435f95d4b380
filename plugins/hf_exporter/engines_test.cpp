#include "engines.hpp"

#include <doctest/doctest.h>

#include "hf_exporter.hpp"
#include "test_support.hpp"

using namespace mopt;
using namespace mopt::hf;
using namespace mopt::hf::test;

namespace {

constexpr const char* kConfig = R"({"architectures":["LlamaForCausalLM"]})";

mopt_param linear(const mopt_scheme* weight, const mopt_scheme* input) {
  mopt_param p{};
  p.struct_size = sizeof(mopt_param);
  p.kind = MOPT_PARAM_LINEAR;
  p.name = str("m.weight");
  p.weight = weight;
  p.input = input;
  return p;
}

std::map<std::string, std::string> ask(HfExporter& exporter, const std::vector<mopt_param>& params,
                                       const mopt_scheme* kv = nullptr,
                                       const char* config = kConfig) {
  std::map<std::string, std::string> out;
  const mopt_verdict_sink sink{
      &out,
      [](void* ctx, mopt_str engine, mopt_str verdict, mopt_str reason) noexcept -> mopt_error* {
        return guard([&] {
          CHECK_FALSE(view(reason).empty());
          static_cast<std::map<std::string, std::string>*>(ctx)->emplace(view(engine),
                                                                         view(verdict));
        });
      }};
  exporter.engines(job(config, params, kv), VerdictSink(sink));
  return out;
}

std::string vllm(const mopt_scheme* weight, const mopt_scheme* input) {
  HfExporter exporter;
  return ask(exporter, {linear(weight, input)})["vllm"];
}

}  // namespace

TEST_CASE("engines choose the model's class by architectures, transformers by model_type") {
  for (const char* config : {"{}", R"({"architectures":[]})", R"({"architectures":null})"}) {
    HfExporter exporter;
    const auto verdicts = ask(exporter, {linear(nullptr, nullptr)}, nullptr, config);
    CHECK(verdicts.at("vllm") == "refuses");
    CHECK(verdicts.at("transformers") == "takes");
  }
  HfExporter exporter;
  CHECK(ask(exporter, {linear(nullptr, nullptr)}).at("vllm") == "takes");
}

// Measured with vLLM 0.32 (the consumers' table) or read in its loader.
TEST_CASE("vllm takes what its loader was seen to take, and nothing else") {
  CHECK(vllm(&kFp8, &kFp8) == "takes");
  CHECK(vllm(&kFp8Channel, &kFp8Token) == "takes");
  CHECK(vllm(&kNvfp4, &kNvfp4Input) == "takes");
  CHECK(vllm(&kNvfp4, nullptr) == "takes");
  CHECK(vllm(&kMxfp8, &kMxfp8Input) == "takes");
  CHECK(vllm(&kInt4, nullptr) == "refuses");
  CHECK(vllm(&kInt8Channel, &kInt8) == "refuses");
  CHECK(vllm(&kMxfp4, nullptr) == "refuses");
  CHECK(vllm(&kNvfp4Block32, nullptr) == "refuses");
  CHECK(vllm(&kFp8, nullptr) == "refuses");
}

TEST_CASE("every engine of the contract gets one verdict") {
  HfExporter exporter;
  const auto verdicts = ask(exporter, {linear(&kInt4, nullptr)});
  CHECK(verdicts == std::map<std::string, std::string>{{"vllm", "refuses"},
                                                       {"sglang", "refuses"},
                                                       {"tensorrt-llm", "takes"},
                                                       {"transformers", "refuses"},
                                                       {"llama.cpp", "refuses"}});
  CHECK(ask(exporter, {linear(nullptr, nullptr)})["transformers"] == "takes");
}

TEST_CASE("a tiled weight whose sides are not multiples of 128 turns vllm away") {
  const mopt_param p = linear(&kFp8Tiles, nullptr);
  const mopt_decl_sink nowhere{
      nullptr, [](void*, const mopt_tensor_decl*) noexcept -> mopt_error* { return nullptr; }};
  const auto after_plan = [&](int64_t rows, int64_t cols) {
    HfExporter exporter;
    const int64_t extents[] = {rows, cols};
    const mopt_tensor_decl payload{sizeof(mopt_tensor_decl), kE4m3, str("payload"), extents, 2, 0};
    exporter.plan(p, {&payload, 1}, DeclSink(nowhere));
    return ask(exporter, {p})["vllm"];
  };
  CHECK(after_plan(256, 128) == "takes");
  CHECK(after_plan(64, 128) == "refuses");
}

TEST_CASE("mixed precision is judged by its members") {
  HfExporter exporter;
  mopt_param other = linear(&kNvfp4, &kNvfp4Input);
  other.name = str("n.weight");
  auto verdicts = ask(exporter, {linear(&kFp8, &kFp8), other});
  CHECK(verdicts["vllm"] == "takes");
  CHECK(verdicts["sglang"] == "takes");
  other.weight = &kMxfp8;
  other.input = &kMxfp8Input;
  verdicts = ask(exporter, {linear(&kFp8, &kFp8), other});
  CHECK(verdicts["vllm"] == "refuses");
}

TEST_CASE(
    "a structure without a name is written under its scheme's, and nobody is known to read it") {
  const mopt_scheme odd = scheme("ternary", kI8, MOPT_PER_BLOCK, kF32, 1, 64);
  const Algorithm a = algorithm(odd, nullptr);
  CHECK(a.name == "TERNARY");
  CHECK_FALSE(a.named);
  HfExporter exporter;
  CHECK(ask(exporter, {linear(&odd, nullptr)})["vllm"] == "unknown");
}

TEST_CASE("a structure without a name is refused when its scheme's name means something else") {
  CHECK_THROWS_AS(algorithm(kFp8, &kNvfp4Input), Error);
  CHECK_THROWS_AS(algorithm(kMxfp8, &kFp8), Error);
}

TEST_CASE("a third party's scheme of a known structure gets the known name") {
  const mopt_scheme mine =
      scheme("my_fp4", kE2m1, MOPT_PER_BLOCK, kE4m3, 1, 16, MOPT_SCHEME_GLOBAL_SCALE);
  CHECK(algorithm(mine, nullptr).name == "W4A16_NVFP4");
}

TEST_CASE("only FP8 and NVFP4 describe a KV cache") {
  CHECK(kv_algorithm(kFp8) == "FP8");
  CHECK(kv_algorithm(kNvfp4) == "NVFP4");
  CHECK_THROWS_AS(kv_algorithm(kInt8), Error);
}
