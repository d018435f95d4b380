#include "host/graph/adapt.hpp"

#include <doctest/doctest.h>

#include <cmath>

#include "mopt/python_json.hpp"
#include "tests/json.hpp"
#include "tests/model_files.hpp"

namespace mopt::graph {
namespace {

using test::TempDir;

struct Fixture {
  Services services{"", {}};
  Registry registry{{{}, {MOPT_PLUGINS}, 0}, services};
  TempDir dir;

  Model open(const nlohmann::json& config, std::string_view adapter = "auto") {
    const Container file = Container::open(registry, dir.path());
    Model model = adapt(registry, file, ModelConfig(test::json_text(config)), adapter);
    check_parameters(model, file);
    return model;
  }
};

TEST_CASE("a configuration with Python's words for what is no number is read") {
  const ModelConfig config(
      R"({"a": NaN, "b": -Infinity, "c": [1, Infinity], "d": "NaN, \" -Infinity",)"
      R"("e": {"NaN": 1}})");
  CHECK(config.get("a").type == MOPT_FLOAT);
  CHECK(std::isnan(config.get("a").as.f));
  CHECK(config.get("b").as.f == -INFINITY);
  CHECK(config.get("c").as.list[1].as.f == INFINITY);
  CHECK(config.text("a").empty());
  CHECK(config.text("d") == "NaN, \" -Infinity");
  CHECK(config.integer("e.NaN") == 1);
}

TEST_CASE("such a text comes back as it was, whatever else it holds") {
  for (const char* text :
       {R"({"a":NaN,"b":[Infinity,-Infinity,NaN]})", R"({"NaN":"-Infinity","x":"\\"})",
        R"({"a":"\"NaN","b":"Infinity\\","c":-1})", "NaN", "", "\"", "\\"}) {
    CAPTURE(text);
    CHECK(python_json(standard_json(text)) == text);
  }
  CHECK(standard_json(R"({"a":"NaN"})") == R"({"a":"NaN"})");
}

TEST_CASE("a configuration is read by dotted path") {
  const ModelConfig c(R"({"a":{"b":{"c":7}},"list":[1,2,3],"text":"x","flag":true,"null":null,
                          "real":0.5,"eos_token_id":[5,6]})");
  CHECK(c.integer("a.b.c") == 7);
  CHECK_FALSE(c.integer("a.b.d"));
  CHECK_FALSE(c.integer("a.b.c.d"));
  CHECK_FALSE(c.integer("text"));
  CHECK(c.text("text") == "x");
  CHECK(c.text("list").empty());
  CHECK(c.flag("flag"));
  CHECK_FALSE(c.flag("text"));
  CHECK(c.integers("eos_token_id") == std::vector<int64_t>{5, 6});
  CHECK(c.integers("a.b.c") == std::vector<int64_t>{7});
  CHECK(c.get("null").type == MOPT_NONE);
  CHECK(c.get("real").as.f == 0.5);
  CHECK(c.get("a").type == MOPT_MAP);
  const mopt_value first = c.get("list"), second = c.get("list");
  REQUIRE(first.count == 3);
  CHECK(first.as.list[2].as.i == 3);
  CHECK(second.as.list[0].as.i == 1);
}

TEST_CASE("a configuration that is no JSON object is refused") {
  for (const char* text : {"", "[1]", "{", "nonsense"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(ModelConfig{text}, Error);
  }
}

TEST_CASE_FIXTURE(Fixture, "the adapter that knows the model_type builds its graph") {
  test::write_llama(dir.path());
  const Model m = open(test::llama_config({}));
  CHECK(m.architecture == "llama");
  REQUIRE(m.blocks.size() == 4);
  CHECK(m.blocks[0].role == "embed");
  CHECK(m.blocks[2].name() == "decoder.1");
  CHECK(m.params.size() == test::llama_tensors({}).size());
}

TEST_CASE_FIXTURE(Fixture, "a tied head uses the embedding; a stored copy of it is no parameter") {
  test::LlamaOptions tied;
  tied.head = test::Head::kTiedAndStored;
  test::write_llama(dir.path(), tied);
  const Model m = open(test::llama_config(tied));
  for (const Param& p : m.params)
    CHECK(p.name != "lm_head.weight");
}

TEST_CASE_FIXTURE(Fixture, "an unknown model_type is named, with the adapters that there are") {
  test::write_llama(dir.path());
  nlohmann::json config = test::llama_config({});
  config["model_type"] = "zebra";
  config["architectures"] = {"ZebraForCausalLM"};
  try {
    open(config);
    FAIL("a zebra was built");
  } catch (const Error& e) {
    CHECK(e.code() == MOPT_NOT_FOUND);
    CHECK(std::string(e.what()).find("'zebra'") != std::string::npos);
    CHECK(std::string(e.what()).find("llama") != std::string::npos);
    CHECK(std::string(e.what()).find("adapter = \"none\"") != std::string::npos);
  }
}

TEST_CASE_FIXTURE(Fixture,
                  "a configuration that asks for other tensors is refused with the first") {
  test::write_llama(dir.path());
  SUBCASE("one layer more") {
    test::LlamaOptions more;
    more.layers = 3;
    CHECK_THROWS_WITH_AS(open(test::llama_config(more)),
                         doctest::Contains("the checkpoint holds no such tensor"), Error);
  }
  SUBCASE("another width") {
    test::LlamaOptions wide;
    wide.intermediate = 96;
    CHECK_THROWS_WITH_AS(open(test::llama_config(wide)),
                         doctest::Contains("expected shape [96, 32] from config.json, found "
                                           "[64, 32]"),
                         Error);
  }
}

TEST_CASE_FIXTURE(Fixture, "damaged extents of a configuration end in an error, never in a crash") {
  test::write_llama(dir.path());
  for (const char* key : {"hidden_size", "num_attention_heads", "num_key_value_heads", "vocab_size",
                          "intermediate_size"}) {
    for (const int64_t value : {int64_t{0}, int64_t{-1}, int64_t{7}, int64_t{1} << 62}) {
      CAPTURE(key);
      CAPTURE(value);
      nlohmann::json config = test::llama_config({});
      config[key] = value;
      CHECK_THROWS_AS(open(config), Error);
    }
  }
}

}  // namespace
}  // namespace mopt::graph
