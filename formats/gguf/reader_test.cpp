#include "reader.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <numeric>

#include "gguf_image_test.hpp"
#include "mopt/numeric/bf16.hpp"
#include "mopt/numeric/fp16.hpp"
#include "tests/fake_host.hpp"
#include "tests/json.hpp"
#include "tests/temp_directory.hpp"

namespace {

using mopt::gguf::Reader;
using mopt::test::GgufImage;
using mopt::test::GgufTensor;
using mopt::test::raw;
using nlohmann::json;

constexpr uint32_t kTypeF32 = 0, kTypeF16 = 1, kTypeQ80 = 8, kTypeQ2S = 22, kTypeI32 = 26,
                   kTypeBf16 = 30;

template <class Encode>
std::string floats(const std::vector<float>& values, Encode encode) {
  std::string out;
  for (const float value : values)
    out += raw(encode(value));
  return out;
}
std::string f32s(const std::vector<float>& values) {
  return floats(values, [](float x) { return x; });
}
std::vector<float> ramp(size_t n) {
  std::vector<float> out(n);
  std::iota(out.begin(), out.end(), 1.0f);
  return out;
}
// Q8_0 with scale 1/2 and the codes 0, 1, 2, ... modulo 100.
std::string q8(int64_t n, int first) {
  std::string out;
  for (int64_t i = 0; i < n; ++i) {
    if (i % 32 == 0) out += raw<uint16_t>(0x3800);
    out += static_cast<char>((first + i) % 100);
  }
  return out;
}

// One layer: hidden 64, two heads and one KV head of 32, feed-forward 32, vocabulary 8.
GgufImage tiny(const std::string& arch) {
  GgufImage image;
  image.text("general.architecture", arch);
  image.u32(arch + ".block_count", 1);
  image.u32(arch + ".context_length", 128);
  image.u32(arch + ".embedding_length", 64);
  image.u32(arch + ".feed_forward_length", 32);
  image.u32(arch + ".attention.head_count", 2);
  image.u32(arch + ".attention.head_count_kv", 1);
  image.f32(arch + ".attention.layer_norm_rms_epsilon", 1e-6f);
  image.f32(arch + ".rope.freq_base", 500000.0f);
  image.tensors = {{"token_embd.weight", {64, 8}, kTypeQ80, q8(512, 0)},
                   {"output_norm.weight", {64}, kTypeF32, f32s(ramp(64))},
                   {"blk.0.attn_q.weight", {64, 64}, kTypeQ80, q8(4096, 3)},
                   {"blk.0.attn_k.weight", {64, 32}, kTypeQ80, q8(2048, 5)},
                   {"blk.0.attn_v.weight", {64, 32}, kTypeQ80, q8(2048, 7)},
                   {"blk.0.ffn_norm.weight", {64}, kTypeF32, f32s(ramp(64))}};
  return image;
}

struct Fixture {
  mopt::test::FakeHost host;
  mopt::test::TempDir dir;
  std::unique_ptr<Reader> open(GgufImage image) {
    return std::make_unique<Reader>(mopt::Host(host.host()), dir.write("m.gguf", image.build()));
  }
  static size_t index_of(const Reader& reader, std::string_view name) {
    for (size_t i = 0; i < reader.count(); ++i) {
      if (mopt::view(reader.tensor(i).name) == name) return i;
    }
    throw std::runtime_error("no tensor " + std::string(name));
  }
  template <class T>
  std::vector<T> read(const Reader& reader, std::string_view name, DLDataType dtype,
                      int64_t begin = 0, int64_t end = -1) {
    const size_t i = index_of(reader, name);
    const mopt_stored_tensor t = reader.tensor(i);
    std::vector<int64_t> shape(t.shape, t.shape + t.ndim);
    if (end < 0) end = shape[0];
    shape[0] = end - begin;
    std::vector<T> out(static_cast<size_t>(mopt::elements(shape)));
    mopt::TensorRef target(out.data(), dtype, shape);
    reader.read(mopt::Exec(host.exec()), i, begin, end, *target.get());
    return out;
  }
};

TEST_CASE_FIXTURE(Fixture, "tensors carry Hugging Face names, shapes and the model's type") {
  const auto reader = open(tiny("llama"));
  const std::map<std::string, std::vector<int64_t>> expected = {
      {"model.embed_tokens.weight", {8, 64}},
      {"model.norm.weight", {64}},
      {"model.layers.0.self_attn.q_proj.weight", {64, 64}},
      {"model.layers.0.self_attn.k_proj.weight", {32, 64}},
      {"model.layers.0.self_attn.v_proj.weight", {32, 64}},
      {"model.layers.0.post_attention_layernorm.weight", {64}}};
  REQUIRE(reader->count() == expected.size());
  for (size_t i = 0; i < reader->count(); ++i) {
    const mopt_stored_tensor t = reader->tensor(i);
    CHECK(std::vector<int64_t>(t.shape, t.shape + t.ndim) ==
          expected.at(std::string(mopt::view(t.name))));
    CHECK(mopt::same(t.dtype, mopt::kBf16));
    CHECK(t.plain == 0);
  }
  CHECK(mopt::view(reader->tensor(0).encoding) == "Q8_0");
  CHECK(mopt::view(reader->tensor(1).encoding) == "F32");
}

TEST_CASE_FIXTURE(Fixture,
                  "q and k rows of llama return to Hugging Face's order in any range of rows") {
  GgufImage image = tiny("llama");
  image.tensors.push_back({"blk.0.attn_q.bias", {64}, kTypeF32, f32s(ramp(64))});
  image.tensors.push_back({"blk.0.attn_output.bias", {64}, kTypeF32, f32s(ramp(64))});
  const auto reader = open(image);
  GgufImage other = tiny("qwen2");
  other.tensors.push_back({"blk.0.attn_q.bias", {64}, kTypeF32, f32s(ramp(64))});
  mopt::test::TempDir second;
  const Reader stored(mopt::Host(host.host()), second.write("m.gguf", other.build()));
  for (const auto& [name, heads] : {std::pair{"q_proj", 2}, {"k_proj", 1}}) {
    const std::string full = std::string("model.layers.0.self_attn.") + name + ".weight";
    const auto as_stored = read<float>(stored, full, mopt::kF32);
    const auto got = read<float>(*reader, full, mopt::kF32);
    // The exporter's rule: view as [heads, 2, 16, columns], swap the middle axes.
    std::vector<float> exported;
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t j = 0; j < 16; ++j) {
        for (int64_t half = 0; half < 2; ++half) {
          const auto row = got.begin() + (h * 32 + half * 16 + j) * 64;
          exported.insert(exported.end(), row, row + 64);
        }
      }
    }
    CHECK(exported == as_stored);
    const auto part = read<float>(*reader, full, mopt::kF32, 5, 21);
    CHECK(part == std::vector<float>(got.begin() + 5 * 64, got.begin() + 21 * 64));
  }
  const auto bias = read<float>(*reader, "model.layers.0.self_attn.q_proj.bias", mopt::kF32);
  CHECK(bias[0] == 1.0f);
  CHECK(bias[1] == 3.0f);
  CHECK(bias[16] == 2.0f);
  CHECK(bias[32] == 33.0f);
  CHECK(read<float>(*reader, "model.layers.0.self_attn.v_proj.weight", mopt::kF32) ==
        read<float>(stored, "model.layers.0.self_attn.v_proj.weight", mopt::kF32));
}

TEST_CASE_FIXTURE(Fixture, "values are rounded once to the model's type, or exact in float32") {
  const auto reader = open(tiny("qwen3"));
  const auto exact = read<float>(*reader, "model.embed_tokens.weight", mopt::kF32, 3, 5);
  const auto rounded = read<uint16_t>(*reader, "model.embed_tokens.weight", mopt::kBf16, 3, 5);
  REQUIRE(exact.size() == 128);
  for (size_t i = 0; i < exact.size(); ++i) {
    CHECK(exact[i] == 0.5f * static_cast<float>((192 + i) % 100));
    CHECK(rounded[i] == mopt::bf16::encode(exact[i]));
  }
  CHECK(read<float>(*reader, "model.norm.weight", mopt::kF32, 62) == std::vector<float>{63, 64});
  CHECK(read<float>(*reader, "model.norm.weight", mopt::kF32, 7, 7).empty());
}

TEST_CASE_FIXTURE(Fixture, "a quantized vector can be read from the middle of a block") {
  GgufImage image = tiny("qwen3");
  image.tensors.push_back({"extra", {64}, kTypeQ80, q8(64, 0)});
  const auto reader = open(image);
  CHECK(read<float>(*reader, "extra", mopt::kF32, 30, 34) ==
        std::vector<float>{15, 15.5f, 16, 16.5f});
}

TEST_CASE_FIXTURE(Fixture, "the model's type is bf16 with codes or BF16, else f16, else f32") {
  const GgufTensor norm{"output_norm.weight", {2}, kTypeF32, f32s({1, 0.1f})};
  const auto one = [&](uint32_t type, const std::string& bytes) {
    GgufImage image;
    image.text("general.architecture", "qwen3");
    image.tensors = {norm, {"output.weight", {2}, type, bytes}};
    return open(image);
  };
  auto reader = one(kTypeF32, f32s({1, 2}));
  CHECK(mopt::same(reader->tensor(0).dtype, mopt::kF32));
  CHECK(reader->tensor(0).plain == 1);
  reader = one(kTypeF16, floats({1, 2}, mopt::fp16::encode));
  CHECK(mopt::same(reader->tensor(0).dtype, mopt::kF16));
  CHECK(reader->tensor(0).plain == 0);
  CHECK(reader->tensor(1).plain == 1);
  CHECK(read<uint16_t>(*reader, "model.norm.weight", mopt::kF16)[1] == mopt::fp16::encode(0.1f));
  reader = one(kTypeBf16, floats({1, 2}, mopt::bf16::encode));
  CHECK(mopt::same(reader->tensor(0).dtype, mopt::kBf16));
  CHECK(read<uint16_t>(*reader, "model.norm.weight", mopt::kBf16)[1] == mopt::bf16::encode(0.1f));
}

TEST_CASE_FIXTURE(Fixture, "integers keep their type and are not read as floats") {
  GgufImage image = tiny("qwen3");
  image.tensors.push_back({"ids", {2}, kTypeI32, raw<int32_t>(7) + raw<int32_t>(-9)});
  const auto reader = open(image);
  const mopt_stored_tensor t = reader->tensor(index_of(*reader, "ids"));
  CHECK(mopt::same(t.dtype, mopt::kI32));
  CHECK(t.plain == 1);
  CHECK(read<int32_t>(*reader, "ids", mopt::kI32) == std::vector<int32_t>{7, -9});
  CHECK_THROWS_WITH_AS(read<float>(*reader, "ids", mopt::kF32), doctest::Contains("expected i32"),
                       mopt::Error);
}

TEST_CASE_FIXTURE(Fixture,
                  "a type without a decoder is listed, and refused by name when it is read") {
  GgufImage image = tiny("llama");
  image.tensors.push_back({"output.weight", {256}, kTypeQ2S, std::string(82, 'x')});
  const auto reader = open(image);
  const size_t i = index_of(*reader, "lm_head.weight");
  CHECK(mopt::view(reader->tensor(i).encoding) == "IQ2_S");
  CHECK(mopt::same(reader->tensor(i).dtype, mopt::kBf16));
  try {
    read<float>(*reader, "lm_head.weight", mopt::kF32);
    FAIL_CHECK("it was read");
  } catch (const mopt::Error& e) {
    CHECK(e.code() == MOPT_UNSUPPORTED);
    CHECK(std::string(e.what()).find("found IQ2_S; convert") != std::string::npos);
  }
}

TEST_CASE_FIXTURE(Fixture, "a wrong request is refused") {
  const auto reader = open(tiny("llama"));
  CHECK_THROWS_WITH_AS(read<float>(*reader, "model.norm.weight", mopt::kF32, 3, 65),
                       doctest::Contains("rows within [0, 64), found [3, 65)"), mopt::Error);
  CHECK_THROWS_WITH_AS(read<uint16_t>(*reader, "model.norm.weight", mopt::kF16),
                       doctest::Contains("expected bf16 or"), mopt::Error);
  CHECK_THROWS_WITH_AS(reader->tensor(6), doctest::Contains("index below 6"), mopt::Error);
}

TEST_CASE_FIXTURE(Fixture, "config.json says what the metadata and the tensors say") {
  GgufImage image = tiny("llama");
  image.u32("tokenizer.ggml.bos_token_id", 1);
  image.u32("tokenizer.ggml.eos_token_id", 2);
  image.u32("tokenizer.ggml.eot_token_id", 3);
  const auto reader = open(image);
  CHECK(mopt::test::parse_json(reader->document("config.json")) ==
        mopt::test::parse_json(R"({"architectures": ["LlamaForCausalLM"], "attention_bias": false,
          "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2, "head_dim": 32,
          "hidden_act": "silu", "hidden_size": 64, "initializer_range": 0.02,
          "intermediate_size": 32, "max_position_embeddings": 128, "mlp_bias": false,
          "model_type": "llama", "num_attention_heads": 2, "num_hidden_layers": 1,
          "num_key_value_heads": 1, "rms_norm_eps": 1e-06, "rope_scaling": null,
          "rope_theta": 500000.0, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
          "use_cache": true, "vocab_size": 8})"));
  CHECK(mopt::test::parse_json(reader->document("generation_config.json")) ==
        mopt::test::parse_json(R"({"bos_token_id": 1, "eos_token_id": [2, 3]})"));
  CHECK(reader->document("tokenizer.json").empty());
  CHECK(reader->document("tokenizer_config.json").empty());
  CHECK(reader->document("chat_template.jinja").empty());
  CHECK(reader->document("README.md").empty());
  CHECK(host.warnings.empty());
}

TEST_CASE_FIXTURE(Fixture, "other architectures of the family differ where they should") {
  GgufImage qwen2 = tiny("qwen2");
  for (const char* bias : {"blk.0.attn_q.bias", "blk.0.attn_k.bias", "blk.0.attn_v.bias"}) {
    qwen2.tensors.push_back({bias, {32}, kTypeF32, f32s(ramp(32))});
  }
  qwen2.tensors.push_back({"output.weight", {64, 8}, kTypeQ80, q8(512, 0)});
  qwen2.text("qwen2.rope.scaling.type", "yarn");
  qwen2.f32("qwen2.rope.scaling.factor", 4);
  qwen2.u32("qwen2.rope.scaling.original_context_length", 32);
  json config = mopt::test::parse_json(open(qwen2)->document("config.json"));
  CHECK(config["architectures"][0] == "Qwen2ForCausalLM");
  CHECK_FALSE(config.contains("attention_bias"));
  CHECK(config["tie_word_embeddings"] == false);
  CHECK(config["rope_scaling"] ==
        json({{"factor", 4.0}, {"original_max_position_embeddings", 32}, {"rope_type", "yarn"}}));

  GgufImage qwen3 = tiny("qwen3");
  qwen3.u32("qwen3.attention.key_length", 48);
  config = mopt::test::parse_json(open(qwen3)->document("config.json"));
  CHECK(config["model_type"] == "qwen3");
  CHECK(config["head_dim"] == 48);
  CHECK(config["attention_bias"] == false);
}

TEST_CASE_FIXTURE(Fixture,
                  "what has no Hugging Face form is named in a warning, and the text is empty") {
  struct Case {
    void (*change)(GgufImage&);
    const char* says;
  };
  const Case cases[] = {
      {[](GgufImage& i) { i.u32("llama.expert_count", 8); }, "without experts for a config.json"},
      {[](GgufImage& i) { i.text("llama.rope.scaling.type", "longrope"); }, "found 'longrope'"},
      {[](GgufImage& i) { i.text("llama.rope.scaling.type", "linear"); },
       "'rope.scaling.factor', found none"},
      {[](GgufImage& i) {
         i.tensors.push_back({"blk.0.attn_q.bias", {64}, kTypeF32, f32s(ramp(64))});
       },
       "all of q, k, v and o"},
      {[](GgufImage& i) {
         i.tensors.push_back({"rope_freqs.weight", {16}, kTypeF32, f32s(ramp(16))});
       },
       "llama3's scaling"},
      {[](GgufImage& i) { i.tensors.erase(i.tensors.begin()); }, "'token_embd.weight', found none"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.says);
    host.warnings.clear();
    GgufImage image = tiny("llama");
    c.change(image);
    const auto reader = open(image);
    CHECK(reader->document("config.json").empty());
    CHECK(reader->document("config.json").empty());
    REQUIRE(host.warnings.size() == 1);
    CHECK(host.warnings[0].starts_with("gguf: config.json is missing: "));
    CHECK(host.warnings[0].find(c.says) != std::string::npos);
  }
}

TEST_CASE_FIXTURE(Fixture, "an architecture that is not translated keeps its names and rows") {
  const auto reader = open(tiny("gemma3"));
  CHECK(mopt::view(reader->tensor(2).name) == "blk.0.attn_q.weight");
  CHECK(read<float>(*reader, "blk.0.attn_q.weight", mopt::kF32, 1, 2)[0] == 0.5f * 67);
  CHECK(reader->document("config.json").empty());
  CHECK(host.warnings.size() == 1);
}

// transformers' llama3 rule, by wave length, in float32 as the converter stores it.
std::vector<float> llama3_factors(double theta, double factor, double context) {
  std::vector<float> out;
  for (int i = 0; i < 16; ++i) {
    const float frequency =
        1.0f / std::pow(static_cast<float>(theta), static_cast<float>(i) / 16.0f);
    const double wave = 2 * M_PI / static_cast<double>(frequency);
    if (wave < context / 4) {
      out.push_back(1);
    } else if (wave > context / 1) {
      out.push_back(static_cast<float>(factor));
    } else {
      const double smooth = (context / wave - 1) / (4.0 - 1.0);
      out.push_back(static_cast<float>(1 / ((1 - smooth) / factor + smooth)));
    }
  }
  return out;
}

TEST_CASE_FIXTURE(Fixture,
                  "llama3's frequency factors become rope_scaling and are no tensor any more") {
  GgufImage image = tiny("llama");
  image.tensors.push_back(
      {"rope_freqs.weight", {16}, kTypeF32, f32s(llama3_factors(500000, 32, 8192))});
  const auto reader = open(image);
  CHECK(reader->count() == image.tensors.size() - 1);
  CHECK(mopt::test::parse_json(reader->document("config.json"))["rope_scaling"] ==
        json({{"factor", 32.0},
              {"high_freq_factor", 4.0},
              {"low_freq_factor", 1.0},
              {"original_max_position_embeddings", 8192},
              {"rope_type", "llama3"}}));
  GgufImage other = tiny("llama");
  other.tensors.push_back(
      {"rope_freqs.weight", {16}, kTypeF32, f32s(llama3_factors(500000, 32, 4096))});
  const auto kept = open(other);
  CHECK(kept->count() == other.tensors.size());
  CHECK(kept->document("config.json").empty());
}

TEST_CASE_FIXTURE(Fixture, "a split model is opened by its first file") {
  const auto part = [](uint16_t number, std::vector<GgufTensor> tensors, int32_t total) {
    GgufImage image;
    if (number == 0) image = tiny("llama");
    image.entry("split.no", 2, raw(number));
    image.entry("split.count", 2, raw<uint16_t>(2));
    image.entry("split.tensors.count", 5, raw(total));
    if (number != 0) image.tensors = std::move(tensors);
    return image.build();
  };
  const GgufTensor output{"output.weight", {64, 8}, kTypeQ80, q8(512, 9)};
  const std::string first = dir.write("x-00001-of-00002.gguf", part(0, {}, 7));
  const std::string second = dir / "x-00002-of-00002.gguf";
  const auto refusal = [&](const std::string& path) {
    try {
      Reader(mopt::Host(host.host()), path);
    } catch (const mopt::Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  CHECK(refusal(first).find("x-00002-of-00002.gguf: expected a GGUF file, found nothing") !=
        std::string::npos);
  dir.write("x-00002-of-00002.gguf", part(1, {output}, 7));
  const Reader reader(mopt::Host(host.host()), first);
  CHECK(reader.count() == 7);
  CHECK(reader.n_files() == 2);
  CHECK(reader.file(1) == second);
  CHECK(read<float>(reader, "lm_head.weight", mopt::kF32, 0, 1)[0] == 4.5f);
  CHECK(mopt::test::parse_json(reader.document("config.json"))["tie_word_embeddings"] == false);
  CHECK(refusal(second).find("name the first one") != std::string::npos);
  dir.write("x-00002-of-00002.gguf", part(1, {output, {"b", {32}, kTypeQ80, q8(32, 0)}}, 7));
  CHECK(refusal(first).find("expected 7 tensors in all files, found 8") != std::string::npos);
  dir.write("x-00002-of-00002.gguf", part(0, {}, 7));
  CHECK(refusal(first).find("file 2 of 2") != std::string::npos);
  dir.write("x-00002-of-00002.gguf", part(1, {tiny("llama").tensors[0]}, 7));
  CHECK(refusal(first).find("found it in two") != std::string::npos);
}

TEST_CASE_FIXTURE(Fixture, "a model without the keys that its rows need is refused") {
  GgufImage image;
  image.text("general.architecture", "llama");
  image.tensors = {{"blk.0.attn_q.weight", {32, 4}, kTypeQ80, q8(128, 0)}};
  CHECK_THROWS_WITH_AS(open(image), doctest::Contains("'llama.attention.head_count', found none"),
                       mopt::Error);
  image.u32("llama.attention.head_count", 3);
  CHECK_THROWS_WITH_AS(open(image), doctest::Contains("rows for 3 heads of even size, found 4"),
                       mopt::Error);
  CHECK_THROWS_WITH_AS(open(GgufImage()), doctest::Contains("'general.architecture', found none"),
                       mopt::Error);
  CHECK_THROWS_WITH_AS(Reader(mopt::Host(host.host()), dir / "absent.gguf"),
                       doctest::Contains("nothing there"), mopt::Error);
}

TEST_CASE("a path is ours by its first bytes, or without them by its name") {
  const uint8_t good[] = {'G', 'G', 'U', 'F', 3}, bad[] = {'P', 'K', 3, 4};
  CHECK(Reader::probe("x.bin", good) == 100);
  CHECK(Reader::probe("x.gguf", bad) == 0);
  CHECK(Reader::probe("x.gguf", {}) > 0);
  CHECK(Reader::probe("x", {}) == 0);
}

}  // namespace
