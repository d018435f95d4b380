#include "qwen.hpp"

#include <doctest/doctest.h>

#include "tests/recording_builder.hpp"

using namespace mopt;
using mopt::qwen::Qwen;
using mopt::test::FakeConfig;
using mopt::test::record;
using mopt::test::RecordingBuilder;

namespace {

std::string tiny(const std::string& type, const std::string& extra = "") {
  return "{" + extra + (extra.empty() ? "" : ",") + R"("model_type": ")" + type +
         R"(", "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 3,
            "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 10,
            "max_position_embeddings": 64})";
}

std::vector<double> windows(const std::string& extra) {
  RecordingBuilder b;
  record<Qwen>(b, tiny("qwen2", extra));
  std::vector<double> out;
  for (const auto* op : b.all("attention"))
    out.push_back(op->numbers.at("window"));
  return out;
}

}  // namespace

TEST_CASE("the graph asks for exactly the tensors of the golden checkpoints") {
  mopt::test::check_golden_parameters<Qwen>({"models/qwen2", "models/qwen3"});
}

TEST_CASE("qwen 2 has biases on q, k and v; qwen 3 on all four or none") {
  const auto biases = [](const std::string& json) {
    RecordingBuilder b;
    record<Qwen>(b, json);
    std::string names;
    for (const char name : std::string("qkvo")) {
      const std::string bias = std::string("model.layers.0.self_attn.") + name + "_proj.bias";
      if (b.params.contains(bias)) names += name;
    }
    return names;
  };
  CHECK(biases(tiny("qwen2")) == "qkv");
  CHECK(biases(tiny("qwen3")) == "");
  CHECK(biases(tiny("qwen3", R"("attention_bias": true)")) == "qkvo");
}

TEST_CASE("qwen 3 normalizes every head of q and k between split and rotation") {
  RecordingBuilder b, second;
  record<Qwen>(b, tiny("qwen3", R"("head_dim": 6)"));
  CHECK(b.params.at("model.layers.2.self_attn.q_norm.weight") == std::vector<int64_t>{6});
  CHECK(b.role("model.layers.2.self_attn.k_norm.weight") == "norm");
  const auto ropes = b.all("rope");
  REQUIRE(ropes.size() == 6);
  for (const auto* rope : ropes) {
    const auto& norm = b.ops[static_cast<size_t>(rope - b.ops.data()) - 1];
    CHECK(norm.kind == "rms_norm");
    CHECK(norm.out == rope->in[0]);
    CHECK(norm.in[0] == b.ops[static_cast<size_t>(rope - b.ops.data()) - 2].out);
  }
  record<Qwen>(second, tiny("qwen2"));
  CHECK_FALSE(second.params.contains("model.layers.0.self_attn.q_norm.weight"));
}

TEST_CASE("windows: only when asked for, from max_window_layers on or by layer_types") {
  using Windows = std::vector<double>;
  CHECK(windows(R"("sliding_window": 7, "max_window_layers": 0)") == Windows{0, 0, 0});
  CHECK(windows(R"("use_sliding_window": true, "sliding_window": 7, "max_window_layers": 1)") ==
        Windows{0, 7, 7});
  CHECK(windows(R"("use_sliding_window": true, "sliding_window": 7, "max_window_layers": 0,
                  "layer_types": ["full_attention", "sliding_attention", "full_attention"])") ==
        Windows{0, 7, 0});
  CHECK_THROWS_AS(windows(R"("use_sliding_window": true, "layer_types": ["full_attention"])"),
                  Error);
  CHECK_THROWS_AS(windows(R"("use_sliding_window": true, "layer_types":
                            ["chunked_attention", "full_attention", "full_attention"])"),
                  Error);
}

TEST_CASE("roles, groups and the tied head are those of llama") {
  RecordingBuilder b;
  record<Qwen>(b, tiny("qwen2", R"("tie_word_embeddings": true)"));
  CHECK(b.role("model.layers.0.self_attn.q_proj.weight") == "attn.q");
  CHECK(b.role("model.layers.0.mlp.down_proj.weight") == "mlp.down");
  CHECK(b.role("model.layers.0.self_attn.q_proj.bias") == "bias");
  CHECK(b.groups.at("model.layers.0.self_attn.qkv").size() == 3);
  CHECK(b.groups.at("model.layers.0.mlp.gate_up").size() == 2);
  CHECK(b.names.at(b.ops.back().in[1]) == "model.embed_tokens.weight");
  CHECK(b.blocks.size() == 5);
}

TEST_CASE("experts, multimodal rotation and other relatives are refused by name") {
  for (const std::string key : {"num_experts", "use_mrope", "vision_config"}) {
    const std::string value = key == "use_mrope" ? "true" : key == "num_experts" ? "8" : "{}";
    RecordingBuilder b;
    try {
      record<Qwen>(b, tiny("qwen2", "\"" + key + "\": " + value));
      FAIL("accepted " << key);
    } catch (const Error& e) {
      CHECK(e.where() == key);
    }
  }
  RecordingBuilder fine;
  record<Qwen>(fine, tiny("qwen2", R"("use_mrope": false)"));
  const FakeConfig moe(R"({"model_type": "qwen3_moe"})");
  CHECK(Qwen::match(moe.config()) == 0);
}
