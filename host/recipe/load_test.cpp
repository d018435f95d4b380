// What a recipe may say, and every message for what it may not. Line 1 of q.toml is `schema = 1`.
#include <doctest/doctest.h>

#include "host/recipe/recipe_test.hpp"

namespace mopt {
using test::faults;
using Lines = std::vector<std::string>;

namespace {
const std::string kRule =
    "[[quantize.rule]]\nid = \"linears\"\nrole = \"mlp.*\"\nweight = \"fp8\"\n";
}

TEST_CASE("the recipe of the contract loads with every value and its place") {
  const test::TempDir scratch;
  const Recipe r = test::load(scratch, R"(
name = "nvfp4"
description = "NVFP4"
[model]
path = "m"
[calibration]
data = ["a.txt", "b.safetensors:ids"]
samples = 64
[format.w4g64]
use = "int4"
block = 64
[quantize]
algorithm = "max"
kv_cache = "fp8"
[quantize.max]
percentile = 99
[[quantize.rule]]
id = "linears"
role = ["attn.*", "mlp.*"]
name = "model.layers.*.mlp.*"
layers = "0-3,-1"
weight = "w4g64"
input = "none"
expect = 196
[export]
path = "out"
shard_gb = 2
[[eval]]
id = "ppl"
kind = "perplexity"
data = "ids.safetensors"
max_ratio = 1.02
[verify]
engines = ["vllm", "llama.cpp"]
)");
  CHECK(r.name.value == "nvfp4");
  CHECK(r.model.path->value == "m");
  CHECK(r.model.path->origin.line == 6);
  CHECK(r.model.path->origin.column == 8);
  CHECK(r.model.adapter.value == "auto");
  CHECK(r.model.adapter.origin.is_default());
  REQUIRE(r.calibration);
  CHECK(r.calibration->data.size() == 2);
  CHECK(r.calibration->samples.value == 64);
  CHECK(r.calibration->seq_len.value == 512);
  CHECK(r.calibration->seed.value == 1234);
  REQUIRE(r.format("w4g64") != nullptr);
  CHECK(std::get<int64_t>(r.format("w4g64")->options.values.at(0).value) == 64);
  REQUIRE(r.format("fp8") != nullptr);  // named by kv_cache
  CHECK(std::get<std::string>(r.format("fp8")->options.values.at(0).value) == "tensor");
  CHECK(r.format("none") == nullptr);
  REQUIRE(r.quantize->algorithms.size() == 1);
  const OptionSet& max = r.quantize->algorithms[0].options;
  CHECK(std::get<bool>(max.values.at(0).value) == false);
  CHECK(std::get<double>(max.values.at(1).value) == 99.0);  // an integer where a float is declared
  const QuantizeRule& rule = r.quantize->rules.at(0);
  CHECK(rule.select.roles.size() == 2);
  CHECK(rule.select.names.at(0).value == "model.layers.*.mlp.*");
  CHECK(rule.select.layers->value == "0-3,-1");
  CHECK(rule.select.expect->count == 196);
  CHECK(rule.select.origin.line == 18);
  CHECK(r.output.layout.name.value == "hf");
  CHECK(r.output.shard_gb.value == 2.0);
  CHECK(r.evals.at(0).max_ratio->value == 1.02);
  CHECK(r.verify_engines.at(1).value == "llama.cpp");
}

TEST_CASE("settings for a component hold every option with its type") {
  const test::TempDir scratch;
  const Recipe r = test::load(scratch, "[quantize.max]\nstrict = true\n");
  const auto settings = r.quantize->algorithms.at(0).options.settings();
  const Settings read(settings.data(), settings.size());
  CHECK(read.flag("strict"));
  CHECK(read.number("percentile") == 100.0);
}

TEST_CASE("E001: a syntax error has its place") {
  CHECK(faults("a = 1\na = 2\n") ==
        Lines{"q.toml:3:5: error[E001]: bad key-value pair: cannot redefine existing integer 'a'; "
              "correct the TOML here or on the line above"});
}

TEST_CASE("E101: an unknown key is named with its path and the nearest known one") {
  CHECK(faults("\n[[quantize.rules]]\nid = \"a\"\n") ==
        Lines{"q.toml:3:1: error[E101]: unknown key 'quantize.rules'; did you mean "
              "'quantize.rule'?"});
  CHECK(faults("formats = 1\n") ==
        Lines{"q.toml:2:1: error[E101]: unknown key 'formats'; did you mean 'format'?"});
  CHECK(faults(kRule + "wieght = \"fp8\"\n") ==
        Lines{"q.toml:6:1: error[E101]: unknown key 'quantize.rule.wieght'; did you mean "
              "'quantize.rule.weight'?"});
  CHECK(faults("[verify]\nzzz = 1\n") ==
        Lines{"q.toml:3:1: error[E101]: unknown key 'verify.zzz'; known here are 'engines'"});
  CHECK(
      faults("quantize = { rul = 1 }\n") ==
      Lines{"q.toml:2:14: error[E101]: unknown key 'quantize.rul'; did you mean 'quantize.rule'?"});
}

TEST_CASE("E101: no table of the recipe accepts a key that it does not know") {
  for (const char* table :
       {"", "[model]", "[calibration]\ndata = \"self\"", "[quantize]", "[export]", "[verify]",
        "[sparsify]\nuse = \"magnitude\"\nrule = [{id=\"a\",layers=\"0\"}]",
        "[[eval]]\nid = \"e\"\nkind = \"perplexity\"\ndata = \"d\""}) {
    CAPTURE(table);
    const Lines got = faults(std::string(table) + "\nunheard_of = 1\n");
    REQUIRE(got.size() == 1);
    CHECK(got[0].find("error[E101]: unknown key '") != std::string::npos);
    CHECK(got[0].find("unheard_of'") != std::string::npos);
  }
}

TEST_CASE("E102: a value of another type is refused at its place") {
  CHECK(faults("[calibration]\ndata = \"self\"\nsamples = \"many\"\n") ==
        Lines{"q.toml:4:11: error[E102]: expected an integer for 'calibration.samples', found a "
              "string"});
  CHECK(faults("model = 3\n") ==
        Lines{"q.toml:2:9: error[E102]: expected a table for 'model', found an integer"});
  CHECK(faults("[quantize.rule]\nid = \"a\"\n") ==
        Lines{"q.toml:2:1: error[E102]: expected an array of tables ([[quantize.rule]]) for "
              "'quantize.rule', found a table"});
  CHECK(faults("[verify]\nengines = [1]\n") ==
        Lines{"q.toml:3:11: error[E102]: expected a string or an array of strings for "
              "'verify.engines', found an array"});
  CHECK(faults("name = 2024-01-01\n") ==
        Lines{"q.toml:2:8: error[E102]: expected a string for 'name', found a date or time"});
  CHECK(
      faults("[format.x]\nuse = \"int4\"\nblock = 1.5\n") ==
      Lines{"q.toml:4:9: error[E102]: expected an integer for option 'block' of quantizer 'int4', "
            "found a float"});
  CHECK(faults("[format]\nx = 1\n") ==
        Lines{"q.toml:3:5: error[E102]: expected a table for 'format.x', found an integer"});
  CHECK(
      faults("extends = \"general/base\"\n") ==
      Lines{"q.toml:2:11: error[E102]: expected an array of strings for 'extends', found a string; "
            "write extends = [\"general/base\"]"});
}

TEST_CASE("E103: an unknown option names component and nearest option") {
  CHECK(faults("[format.mine]\nuse = \"nvfp4\"\nblock_sise = 16\n") ==
        Lines{"q.toml:4:1: error[E103]: unknown option 'block_sise' of quantizer 'nvfp4'; did you "
              "mean 'block_size'?"});
  CHECK(faults("[format.mine]\nuse = \"mxfp8\"\nblock = 16\n") ==
        Lines{"q.toml:4:1: error[E103]: unknown option 'block' of quantizer 'mxfp8'; it has no "
              "options"});
  CHECK(faults("[quantize.max]\nzzz = 16\n") ==
        Lines{"q.toml:3:1: error[E103]: unknown option 'zzz' of calibrator 'max'; its options are "
              "'strict' and 'percentile'"});
}

TEST_CASE("E104: ranges and choices hold for keys and options") {
  CHECK(faults("[calibration]\ndata = \"self\"\nsamples = 0\n") ==
        Lines{"q.toml:4:11: error[E104]: 'calibration.samples' is 0, but must be from 1 to "
              "1000000000"});
  CHECK(
      faults("[export]\nshard_gb = 0\n") ==
      Lines{"q.toml:3:12: error[E104]: 'export.shard_gb' is 0, but must be above zero and at most "
            "1e+09"});
  CHECK(faults("[export]\nshard_gb = nan\n").size() == 1);
  CHECK(faults("[export]\nshard_gb = inf\n").size() == 1);
  CHECK(
      faults("[format.x]\nuse = \"int4\"\nblock = 8\n") ==
      Lines{"q.toml:4:9: error[E104]: option 'block' of quantizer 'int4' is 8, but must be from 16 "
            "to 1024"});
  CHECK(faults("[quantize.max]\npercentile = nan\n").size() == 1);
  CHECK(faults("[format.x]\nuse = \"fp8\"\ngranularity = \"chanel\"\n") ==
        Lines{"q.toml:4:15: error[E104]: option 'granularity' of quantizer 'fp8' is 'chanel', but "
              "must be one of 'tensor', 'channel', 'token' and 'block'; did you mean 'channel'?"});
  CHECK(faults("[verify]\nengines = [\"vlm\"]\n") ==
        Lines{"q.toml:3:12: error[E104]: engine 'vlm' is not one of 'vllm', 'sglang', "
              "'tensorrt-llm', 'transformers' and 'llama.cpp'; did you mean 'vllm'?"});
  CHECK(faults(kRule + "expect = 0\n") ==
        Lines{"q.toml:6:10: error[E104]: 'quantize.rule.expect' must be a count above zero or "
              "\"all\""});
  CHECK(faults(kRule + "expect = true\n").at(0).find("error[E102]") != std::string::npos);
  CHECK(faults("[format.none]\nuse = \"fp8\"\n").size() == 1);
  CHECK(faults("[calibration]\ndata = []\n") ==
        Lines{"q.toml:3:8: error[E104]: 'calibration.data' is empty"});
  CHECK(faults("[model]\npath = \"\"\n") ==
        Lines{"q.toml:3:8: error[E104]: 'model.path' is empty"});
}

TEST_CASE("E105: two rules of one file cannot share an id") {
  CHECK(faults(kRule + kRule) ==
        Lines{"q.toml:7:1: error[E105]: two elements of 'quantize.rule' have the id 'linears', the "
              "first in line 3; give each its own id"});
}

TEST_CASE("E106: what a table cannot do without is asked for at the table") {
  CHECK(faults("[calibration]\nsamples = 4\n") ==
        Lines{"q.toml:2:1: error[E106]: 'calibration.data' is missing; write data = \"self\", or a "
              "file"});
  CHECK(
      faults("[[quantize.rule]]\nid = \"a\"\nweight = \"fp8\"\n") ==
      Lines{
          "q.toml:2:1: error[E106]: rule 'a' says nothing about which tensors; give it role, name "
          "or layers"});
  CHECK(faults("[[quantize.rule]]\nrole = \"mlp.*\"\n") ==
        Lines{"q.toml:2:1: error[E106]: 'quantize.rule.id' is missing",
              "q.toml:2:1: error[E106]: 'quantize.rule.weight' is missing"});
  CHECK(faults("[format.x]\nblock = 1\n") ==
        Lines{"q.toml:2:1: error[E106]: 'format.x.use' is missing"});
  CHECK(faults("[format.x]\nuse = \"demanding\"\n") ==
        Lines{"q.toml:2:1: error[E106]: option 'table' of quantizer 'demanding' is missing; write "
              "table = ...: file of the table"});
  CHECK(faults("[[eval]]\n").size() == 3);
  CHECK(faults("[sparsify]\n").size() == 2);
  const test::TempDir scratch;
  const std::string file = scratch.write("p.toml", "name = \"x\"\n");
  CHECK(faults(scratch, [&] {
          load_recipe({file, {}, {}, {}, {}}, test::catalogue());
        }) == Lines{"p.toml:1:1: error[E106]: 'schema' is missing; write schema = 1 at the top"});
}

TEST_CASE("E107: reserved tables are refused by name") {
  CHECK(faults("[prune]\nx = 1\n") ==
        Lines{"q.toml:2:1: error[E107]: [prune] is not yet available; remove it"});
  CHECK(faults("[[step]]\nid = \"a\"\n") ==
        Lines{"q.toml:2:1: error[E107]: [[step]] is not yet available; remove it"});
  for (const char* name : {"draft", "train", "distill", "search", "launch", "parallel"}) {
    const Lines got = faults(std::string("[").append(name).append("]\n"));
    REQUIRE(got.size() == 1);
    CHECK(got[0].find("error[E107]") != std::string::npos);
  }
}

TEST_CASE("E109: a schema of another version is refused") {
  const test::TempDir scratch;
  const std::string file = scratch.write("p.toml", "schema = 2\n");
  CHECK(faults(scratch,
               [&] {
                 load_recipe({file, {}, {}, {}, {}}, test::catalogue());
               }) ==
        Lines{"p.toml:1:10: error[E109]: schema 2 is not known, this program reads schema 1; write "
              "the recipe for schema 1, or use a newer program"});
}

TEST_CASE("E203 and E204: components are looked up by their kind") {
  CHECK(faults("[quantize]\nkv_cache = \"fp9\"\n") ==
        Lines{"q.toml:3:12: error[E203]: unknown format 'fp9'; did you mean 'fp8'?"});
  CHECK(
      faults("[quantize]\nalgorithm = \"gptq_act\"\n") ==
      Lines{"q.toml:3:13: error[E203]: unknown calibrator 'gptq_act'; loaded are 'max' and 'awq'; "
            "`mopt-host plugins` says what is loaded"});
  CHECK(
      faults("[quantize]\nalgorithm = \"fp8\"\n") ==
      Lines{"q.toml:3:13: error[E204]: expected a calibrator, but 'fp8' is a quantizer; loaded are "
            "'max' and 'awq'; `mopt-host plugins` says what is loaded"});
  CHECK(faults("[model]\nadapter = \"lama\"\n") ==
        Lines{"q.toml:3:11: error[E203]: unknown adapter 'lama'; did you mean 'llama'?"});
  CHECK(faults("[export]\nlayout = \"max\"\n")
            .at(0)
            .find("error[E204]: expected an exporter, but 'max' is a calibrator") !=
        std::string::npos);
  CHECK(faults("[format.x]\nuse = \"magnitude\"\n").at(0).find("error[E204]") != std::string::npos);
  CHECK(faults("[[eval]]\nid = \"a\"\nkind = \"mmlu\"\ndata = \"x\"\n") ==
        Lines{"q.toml:4:8: error[E203]: unknown evaluator 'mmlu'; this version has 'perplexity'"});
}

TEST_CASE("a format of the recipe is suggested like a component") {
  CHECK(
      faults("[format.my_w4g64]\nuse = \"int4\"\n[[quantize.rule]]\nid = \"a\"\nrole = \"mlp.up\"\n"
             "weight = \"my_w4g6\"\n") ==
      Lines{"q.toml:7:10: error[E203]: unknown format 'my_w4g6'; did you mean 'my_w4g64'?"});
}

TEST_CASE("E206 and E207: layers, roles and patterns are checked before any model is read") {
  CHECK(faults(kRule + "layers = \"3-1\"\n") ==
        Lines{"q.toml:6:10: error[E206]: bad layers '3-1': '3-1' runs backwards; write numbers and "
              "ranges such as \"0-3,-1\""});
  CHECK(
      faults(
          "[[quantize.rule]]\nid = \"a\"\nrole = [\"mlp.*\", \"mpl.down\"]\nweight = \"none\"\n") ==
      Lines{"q.toml:4:18: error[E207]: unknown role 'mpl.down'; did you mean 'mlp.down'?"});
  CHECK(faults("[[quantize.rule]]\nid = \"a\"\nname = \"a..b\"\nweight = \"none\"\n") ==
        Lines{"q.toml:4:8: error[E207]: bad pattern 'a..b': a segment between dots is empty; write "
              "dotted segments with * or a ** of its own"});
}

TEST_CASE("E303: what contradicts itself is refused") {
  CHECK(faults("[quantize]\nalgorithm = \"max\"\n[quantize.awq]\n") ==
        Lines{"q.toml:4:1: error[E303]: [quantize.awq] holds options of a calibrator that "
              "'quantize.algorithm' does not name; name it there, or remove the table"});
  CHECK(
      faults(
          "[[quantize.rule]]\nid = \"a\"\nrole = \"mlp.up\"\nweight = \"none\"\ninput = \"fp8\"\n")
          .at(0)
          .find("q.toml:6:9: error[E303]") == 0);
  CHECK(faults("[calibration]\ndata = [\"self\", \"a.txt\"]\n").at(0).find("error[E303]") !=
        std::string::npos);
  CHECK(faults("[quantize]\nalgorithm = [\"max\", \"max\"]\n").at(0).find("error[E303]") !=
        std::string::npos);
}

TEST_CASE("W107: a deprecated option works and warns") {
  const test::TempDir scratch;
  const Recipe r = test::load(scratch, "[format.x]\nuse = \"demanding\"\ntable = \"t\"\nold = 2\n");
  REQUIRE(r.warnings.size() == 1);
  CHECK(r.warnings[0].code == "W107");
  CHECK(r.warnings[0].line == 5);
  // An option without a default that nobody gives is absent.
  CHECK(std::holds_alternative<std::monostate>(r.format("x")->options.values.at(2).value));
  CHECK(r.format("x")->options.settings().at(2).value.type == MOPT_NONE);
}

TEST_CASE("all faults of a stage come together and in order, those of later stages wait") {
  CHECK(
      faults("[verify]\nengines = 3\nzzz = 1\n[quantize]\nkv_cache = \"fp9\"\nalgoritm = \"max\"\n")
          .size() == 3);
  const Lines got = faults("b = 1\na = 1\n");
  REQUIRE(got.size() == 2);
  CHECK(got[0].starts_with("q.toml:2:1"));
  CHECK(got[1].starts_with("q.toml:3:1"));
}

TEST_CASE("the default calibrator is no demand on the plugins that are loaded") {
  const test::TempDir scratch;
  Catalogue poor = test::catalogue();
  poor.find = [inner = poor.find](std::string_view id, std::string_view name) {
    return name == "max" ? std::nullopt : inner(id, name);
  };
  const std::string file = scratch.write("q.toml", std::string("schema = 1\n").append(kRule));
  CHECK(load_recipe({file, {}, {}, {}, {}}, poor).quantize->algorithms.empty());
  const Recipe none = test::load(scratch, "[quantize]\nalgorithm = \"none\"\n");
  CHECK(none.quantize->algorithms.empty());
  CHECK(none.name.value == "q");  // the file's name when it has none
}

}  // namespace mopt
