#include "llama.hpp"

#include <doctest/doctest.h>

#include <cmath>

#include "tests/recording_builder.hpp"

using namespace mopt;
using mopt::llama::Llama;
using mopt::test::FakeConfig;
using mopt::test::record;
using mopt::test::RecordingBuilder;

namespace {

// A small model, with `extra` keys in front: {"hidden_size": 8, ...}.
std::string tiny(const std::string& extra = "") {
  return "{" + extra + (extra.empty() ? "" : ",") +
         R"("model_type": "llama", "hidden_size": 8, "intermediate_size": 12,
            "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
            "vocab_size": 10, "max_position_embeddings": 64})";
}

// mistral instead of llama.
std::string mistral(const std::string& extra) {
  std::string text = tiny(extra);
  return text.replace(text.find("\"llama\""), 7, "\"mistral\"");
}

std::string refusal(const std::string& json) {
  RecordingBuilder builder;
  try {
    record<Llama>(builder, json);
  } catch (const Error& e) {
    CHECK(e.code() == MOPT_UNSUPPORTED);
    return e.where();
  }
  return {};
}

}  // namespace

TEST_CASE("the graph asks for exactly the tensors of the golden checkpoints") {
  mopt::test::check_golden_parameters<Llama>(
      {"models/llama", "models/llama_tied", "models/mistral"});
}

TEST_CASE("roles, fuse groups, blocks and residuals of a decoder") {
  RecordingBuilder b;
  record<Llama>(b, tiny());
  const std::string layer = "model.layers.1.";
  CHECK(b.role("model.embed_tokens.weight") == "embed");
  CHECK(b.role("lm_head.weight") == "lm_head");
  CHECK(b.role(layer + "self_attn.q_proj.weight") == "attn.q");
  CHECK(b.role(layer + "self_attn.k_proj.weight") == "attn.k");
  CHECK(b.role(layer + "self_attn.v_proj.weight") == "attn.v");
  CHECK(b.role(layer + "self_attn.o_proj.weight") == "attn.o");
  CHECK(b.role(layer + "mlp.gate_proj.weight") == "mlp.gate");
  CHECK(b.role(layer + "mlp.up_proj.weight") == "mlp.up");
  CHECK(b.role(layer + "mlp.down_proj.weight") == "mlp.down");
  CHECK(b.role(layer + "input_layernorm.weight") == "norm");
  CHECK(b.groups.at(layer + "self_attn.qkv") ==
        std::vector<std::string>{layer + "self_attn.q_proj.weight",
                                 layer + "self_attn.k_proj.weight",
                                 layer + "self_attn.v_proj.weight"});
  CHECK(b.groups.at(layer + "mlp.gate_up") ==
        std::vector<std::string>{layer + "mlp.gate_proj.weight", layer + "mlp.up_proj.weight"});
  CHECK(b.blocks == std::vector<std::string>{"embed 0", "decoder 0", "decoder 1", "head 0"});
  int residuals = 0;
  for (const auto& [value, role] : b.roles)
    residuals += role == "residual";
  CHECK(residuals == 1 + 2 * 2);
  for (const auto* attention : b.all("attention")) {
    CHECK(attention->numbers.at("scale") == doctest::Approx(0.5));
    CHECK(attention->numbers.at("window") == 0);
  }
  CHECK(b.all("rope").size() == 4);
  CHECK(b.outputs.contains("logits"));
}

TEST_CASE("q, k, v and gate, up read the same norm; the residual goes around both halves") {
  RecordingBuilder b;
  record<Llama>(b, tiny());
  std::map<std::string, const mopt::test::RecordedOp*> by_label;
  for (const auto& op : b.ops)
    by_label[op.label] = &op;
  const std::string layer = "model.layers.0.";
  const mopt_val in = by_label.at(layer + "input_layernorm")->out;
  for (const std::string name : {"q_proj", "k_proj", "v_proj"}) {
    CHECK(by_label.at(layer + "self_attn." + name)->in[0] == in);
  }
  const mopt_val mid = by_label.at(layer + "post_attention_layernorm")->out;
  CHECK(by_label.at(layer + "mlp.gate_proj")->in[0] == mid);
  CHECK(by_label.at(layer + "mlp.up_proj")->in[0] == mid);
  const mopt_val embedded = by_label.at("model.embed_tokens")->out;
  CHECK(by_label.at(layer + "input_layernorm")->in[0] == embedded);
  const auto adds = b.all("add");
  CHECK(adds[0]->in ==
        std::vector<mopt_val>{embedded, by_label.at(layer + "self_attn.o_proj")->out});
  CHECK(adds[1]->in ==
        std::vector<mopt_val>{adds[0]->out, by_label.at(layer + "mlp.down_proj")->out});
  // The activation is on the gate, not on up.
  CHECK(b.all("activation")[0]->in[0] == by_label.at(layer + "mlp.gate_proj")->out);
}

TEST_CASE("a tied head uses the embedding, also when lm_head.weight is stored") {
  RecordingBuilder b;
  record<Llama>(b, tiny(R"("tie_word_embeddings": true)"), {"lm_head.weight"});
  CHECK_FALSE(b.params.contains("lm_head.weight"));
  CHECK(b.names.at(b.ops.back().in[1]) == "model.embed_tokens.weight");
  CHECK(b.role("model.embed_tokens.weight") == "embed");
}

TEST_CASE("biases: attention_bias on q, k, v and o, mlp_bias on the MLP, none in mistral") {
  const std::string keys = R"("attention_bias": true, "mlp_bias": true)";
  RecordingBuilder llama, other;
  record<Llama>(llama, tiny(keys));
  for (const std::string name :
       {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
        "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}) {
    const std::string bias = "model.layers.0." + name + ".bias";
    REQUIRE(llama.params.contains(bias));
    CHECK(llama.role(bias) == "bias");
  }
  record<Llama>(other, mistral(keys));
  for (const auto& [name, dims] : other.params)
    CHECK_FALSE(name.ends_with(".bias"));
}

TEST_CASE("a window belongs to mistral, and null means none") {
  const auto window = [](const std::string& json) {
    RecordingBuilder b;
    record<Llama>(b, json);
    return b.all("attention")[0]->numbers.at("window");
  };
  CHECK(window(mistral(R"("sliding_window": 7)")) == 7);
  CHECK(window(mistral(R"("sliding_window": null)")) == 0);
  CHECK(window(tiny(R"("sliding_window": 7)")) == 0);
}

TEST_CASE("head_dim and the names without a prefix are read from the checkpoint") {
  RecordingBuilder b;
  record<Llama>(b, tiny(R"("head_dim": 6)"), {"embed_tokens.weight"});
  CHECK(b.params.at("layers.0.self_attn.q_proj.weight") == std::vector<int64_t>{12, 8});
  CHECK(b.params.at("layers.0.self_attn.o_proj.weight") == std::vector<int64_t>{8, 12});
  CHECK(b.all("attention")[0]->numbers.at("scale") == doctest::Approx(1 / std::sqrt(6.0)));
}

TEST_CASE("rotary settings in the spelling of transformers 4 and 5 are the same") {
  const auto rope = [](const std::string& extra) {
    RecordingBuilder b;
    record<Llama>(b, tiny(extra));
    return *b.all("rope")[0];
  };
  const std::string fields = R"("factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                "original_max_position_embeddings": 16)";
  const auto four =
      rope(R"("rope_theta": 500000.0, "rope_scaling": {"rope_type": "llama3", )" + fields + "}");
  const auto five =
      rope(R"("rope_parameters": {"rope_theta": 500000.0, "rope_type": "llama3", )" + fields + "}");
  CHECK(four.texts == five.texts);
  CHECK(four.numbers == five.numbers);
  CHECK(four.texts.at("scaling") == "llama3");
  CHECK(four.numbers.at("theta") == 500000.0);
  CHECK(four.numbers.at("original_max_position") == 16);
  CHECK(rope(R"("rope_scaling": {"type": "linear", "factor": 2})").numbers.at("factor") == 2.0);
  CHECK(rope("").texts.at("scaling") == "none");
  CHECK(
      rope(R"("rope_parameters": {"rope_type": "default", "rope_theta": 7})").numbers.at("theta") ==
      7.0);
  CHECK(rope(R"("partial_rotary_factor": 0.5)").numbers.at("rotary_dim") == 2);
}

TEST_CASE("yarn's fields have transformers' defaults") {
  RecordingBuilder b, deepseek, ratio;
  record<Llama>(b, tiny(R"("rope_scaling": {"type": "yarn", "factor": 4})"));
  const auto& yarn = b.all("rope")[0]->numbers;
  CHECK(yarn.at("beta_fast") == 32);
  CHECK(yarn.at("beta_slow") == 1);
  CHECK(yarn.at("original_max_position") == 64);
  CHECK(yarn.at("attention_factor") == doctest::Approx(0.1 * std::log(4.0) + 1));
  record<Llama>(deepseek, tiny(R"("rope_scaling": {"type": "yarn", "factor": 40, "mscale": 1.0,
                         "mscale_all_dim": 0.707, "original_max_position_embeddings": 16})"));
  CHECK(deepseek.all("rope")[0]->numbers.at("attention_factor") ==
        doctest::Approx((0.1 * std::log(40.0) + 1) / (0.0707 * std::log(40.0) + 1)));
  record<Llama>(
      ratio, tiny(R"("rope_scaling": {"type": "yarn", "original_max_position_embeddings": 16})"));
  CHECK(ratio.all("rope")[0]->numbers.at("factor") == 4.0);
}

TEST_CASE("a setting that the adapter cannot honour is refused by name") {
  CHECK(refusal(tiny(R"("rope_scaling": {"rope_type": "longrope"})")) == "rope_scaling.rope_type");
  CHECK(refusal(tiny(R"("attention_multiplier": 0.5)")) == "attention_multiplier");
  CHECK(refusal(tiny(R"("hidden_act": "xielu")")) == "hidden_act");
  CHECK(refusal(tiny(R"("rope_scaling": {"type": "yarn", "factor": 2, "truncate": false})")) ==
        "rope_scaling.truncate");
  CHECK(refusal(tiny(R"("rope_parameters": {"full_attention": {"rope_theta": 1.0}})")) ==
        "rope_parameters.full_attention");
  CHECK(refusal(tiny(R"("quantization_config": {"quant_method": "modelopt"})")) == "");
}

TEST_CASE("other architectures are not matched") {
  for (const std::string type : {"qwen2", "gemma3", "mixtral"}) {
    const FakeConfig config(R"({"model_type": ")" + type + "\"}");
    CHECK(Llama::match(config.config()) == 0);
  }
}
