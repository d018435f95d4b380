#include "metadata.hpp"

#include <doctest/doctest.h>

#include "hf_exporter.hpp"
#include "test_support.hpp"
#include "tests/json.hpp"

using namespace mopt;
using namespace mopt::hf;
using namespace mopt::hf::test;
using nlohmann::json;

namespace {

json parsed(const std::map<std::string, std::string>& files, const std::string& name) {
  const auto at = files.find(name);
  return at == files.end() ? json() : mopt::test::parse_json(at->second);
}

mopt_param linear(std::string_view name, const mopt_scheme* weight,
                  const mopt_scheme* input = nullptr) {
  mopt_param param{};
  param.struct_size = sizeof(mopt_param);
  param.kind = MOPT_PARAM_LINEAR;
  param.name = str(name);
  param.weight = weight;
  param.input = input;
  return param;
}

}  // namespace

TEST_CASE("the texts of every golden export follow from its tensors and its source") {
  int compared = 0;
  for (const Export& e : kExports) {
    const Headers tensors = headers(e.folder);
    const std::string family = e.folder.substr(0, e.folder.find('/'));
    const std::string source = text(family + "/source", "config.json");
    if (tensors.empty() || source.empty()) continue;
    CAPTURE(e.folder);
    const std::vector<mopt_param> params = parameters(tensors, e);
    HfExporter exporter;
    const auto files = finish(exporter, job(source, params, e.kv));
    CHECK(parsed(files, "hf_quant_config.json") ==
          mopt::test::parse_json(text(e.folder, "hf_quant_config.json")));
    const json config = parsed(files, "config.json");
    CHECK(config["quantization_config"] ==
          mopt::test::parse_json(text(e.folder, "config.json"))["quantization_config"]);
    const json before = mopt::test::parse_json(source);
    for (const auto& [key, value] : before.items()) {
      CAPTURE(key);
      CHECK(config[key] == value);
    }
    ++compared;
  }
  CHECK(compared >= 5);
}

TEST_CASE("config.json keeps the order of its keys, and quantization_config comes last") {
  const std::string source = R"({"z": 1, "a": 1e-05, "model_type": "llama", "b": [1, 2.0]})";
  const std::vector<mopt_param> params{linear("m.weight", &kFp8, &kFp8)};
  HfExporter exporter;
  const std::string config = finish(exporter, job(source, params))["config.json"];
  const std::string start =
      "{\n    \"z\": 1,\n    \"a\": 1e-05,\n    \"model_type\": \"llama\",\n    \"b\": [\n"
      "        1,\n        2.0\n    ],\n    \"quantization_config\": {";
  CHECK(config.substr(0, start.size()) == start);
}

TEST_CASE("a source's own quantization_config is replaced") {
  const std::vector<mopt_param> params{linear("m.weight", &kFp8, &kFp8)};
  HfExporter exporter;
  const auto files =
      finish(exporter, job(R"({"quantization_config": {"quant_method": "fp8"}, "a": 1})", params));
  const json config = parsed(files, "config.json");
  CHECK(config["quantization_config"]["quant_method"] == "modelopt");
  CHECK(config["a"] == 1);
}

TEST_CASE("without anything quantized config.json is the source's, byte for byte") {
  const std::string source = "{\"hidden_size\":   4,\n\t\"eos_token_id\": 2}";
  const std::vector<mopt_param> params{linear("m.weight", nullptr)};
  HfExporter exporter;
  const auto files = finish(exporter, job(source, params));
  CHECK(files.at("config.json") == source);
  CHECK_FALSE(files.contains("hf_quant_config.json"));
}

TEST_CASE("layers with different entries become MIXED_PRECISION") {
  const std::vector<mopt_param> params{
      linear("l.0.q.weight", &kFp8, &kFp8), linear("l.0.up.weight", &kNvfp4, &kNvfp4Input),
      linear("l.0.gate.weight", &kNvfp4, &kNvfp4Input), linear("l.0.k.weight", nullptr)};
  HfExporter exporter;
  const auto files = finish(exporter, job("{}", params));
  // Written by hand from quant-formats 9.1 and 9.2.
  CHECK(parsed(files, "hf_quant_config.json")["quantization"] == mopt::test::parse_json(R"({
    "quant_algo": "MIXED_PRECISION", "kv_cache_quant_algo": null,
    "quantized_layers": {"l.0.q": {"quant_algo": "FP8"},
                         "l.0.up": {"quant_algo": "NVFP4", "group_size": 16},
                         "l.0.gate": {"quant_algo": "NVFP4", "group_size": 16}}})"));
  const json config = parsed(files, "config.json")["quantization_config"];
  CHECK(config["quant_algo"] == "MIXED_PRECISION");
  CHECK(config["ignore"] == json::array());
  CHECK(config["config_groups"] == mopt::test::parse_json(R"({
    "group_0": {"input_activations": {"dynamic": false, "num_bits": 8, "type": "float"},
                "weights": {"dynamic": false, "num_bits": 8, "type": "float"},
                "targets": ["l.0.q"]},
    "group_1": {"input_activations":
                  {"dynamic": false, "num_bits": 4, "type": "float", "group_size": 16},
                "weights": {"dynamic": false, "num_bits": 4, "type": "float", "group_size": 16},
                "targets": ["l.0.gate", "l.0.up"]}})"));
}

TEST_CASE("a quantized KV cache alone is described without a quant_algo") {
  const std::vector<mopt_param> params{linear("l.0.k_proj.weight", nullptr)};
  HfExporter exporter;
  const auto files = finish(exporter, job("{}", params, &kFp8));
  CHECK(parsed(files, "hf_quant_config.json")["quantization"] ==
        mopt::test::parse_json(R"({"quant_algo": null, "kv_cache_quant_algo": "FP8",
                        "quantized_layers": {}})"));
  const json config = parsed(files, "config.json")["quantization_config"];
  CHECK_FALSE(config.contains("quant_algo"));
  CHECK(config["ignore"] == json::array());
}

TEST_CASE("lm_head is listed when it is tied and not stored, and not when it is quantized") {
  std::vector<mopt_param> params{linear("model.up.weight", &kFp8, &kFp8)};
  HfExporter exporter;
  const auto exclude = [&](const std::string& config) {
    return parsed(finish(exporter, job(config, params)),
                  "hf_quant_config.json")["quantization"]["exclude_modules"];
  };
  CHECK(exclude(R"({"tie_word_embeddings": true})") == json::array({"lm_head"}));
  CHECK(exclude(R"({"tie_word_embeddings": false})") == json::array());
  CHECK(exclude(R"({"architectures": ["Gemma3ForCausalLM"]})") == json::array({"lm_head"}));
  params.push_back(linear("lm_head.weight", &kFp8, &kFp8));
  CHECK(exclude(R"({"tie_word_embeddings": true})") == json::array());
}

TEST_CASE("a head that was untied says so in config.json") {
  const std::vector<mopt_param> params{linear("lm_head.weight", &kFp8, &kFp8)};
  const std::string source = R"({"tie_word_embeddings": true, "hidden_size": 4})";
  mopt_export untied = job(source, params);
  untied.untied_head = 1;
  HfExporter exporter;
  const json config = parsed(finish(exporter, untied), "config.json");
  CHECK(config["tie_word_embeddings"] == false);
  CHECK(config["hidden_size"] == 4);
}

TEST_CASE("generation_config.json holds the ids of config.json, and is absent without them") {
  const std::vector<mopt_param> params{linear("m.weight", nullptr)};
  HfExporter exporter;
  auto files = finish(exporter, job(R"({"bos_token_id": 1, "eos_token_id": [2, 3]})", params));
  CHECK(mopt::test::parse_json(files.at("generation_config.json")) ==
        mopt::test::parse_json(
            R"({"_from_model_config": true, "bos_token_id": 1, "eos_token_id": [2, 3]})"));
  files = finish(exporter, job(R"({"pad_token_id": 0})", params));
  CHECK_FALSE(files.contains("generation_config.json"));
}

TEST_CASE("a config.json that is not JSON is named") {
  const std::vector<mopt_param> params{linear("m.weight", nullptr)};
  HfExporter exporter;
  const std::string cut_off = "{\"hidden_size\": ";
  const mopt_export broken = job(cut_off, params);
  CHECK_THROWS_WITH_AS(finish(exporter, broken), doctest::Contains("config.json is not JSON"),
                       Error);
}
