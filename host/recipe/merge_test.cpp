// `extends`, --set, --model, the library, and the resolved recipe.
#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "host/recipe/recipe_test.hpp"

namespace mopt {
using test::faults;
using Lines = std::vector<std::string>;

namespace {

const std::string kBase = R"(schema = 1
name = "base"
[calibration]
data = "self"
samples = 8
[[quantize.rule]]
id = "linears"
role = "attn.*"
weight = "fp8"
[[quantize.rule]]
id = "rest"
role = "mlp.*"
weight = "fp8"
)";

Recipe with(const test::TempDir& scratch, std::vector<std::string> sets,
            std::vector<Override> overrides = {}) {
  RecipeRequest request;
  request.sets = std::move(sets);
  request.overrides = std::move(overrides);
  return test::load(scratch, kBase.substr(kBase.find('\n') + 1), request);
}

std::filesystem::path library() {
  return std::filesystem::path(MOPT_SOURCE_DIR) / "recipes";
}

}  // namespace

TEST_CASE("extends merges tables by key and arrays of tables by id, the base's order first") {
  const test::TempDir scratch;
  scratch.write("base.toml", kBase);
  const Recipe r = test::load(scratch, R"(extends = ["./base.toml"]
[calibration]
samples = 16
[[quantize.rule]]
id = "linears"
weight = "nvfp4"
[[quantize.rule]]
id = "more"
role = "moe.expert.*"
weight = "int8"
)");
  CHECK(r.name.value == "q");  // a base's name is its own
  CHECK(r.calibration->samples.value == 16);
  CHECK(r.calibration->samples.origin.file.ends_with("q.toml"));
  CHECK(r.calibration->data.at(0).value == "self");
  CHECK(r.calibration->data.at(0).origin.file.ends_with("base.toml"));
  const auto& rules = r.quantize->rules;
  REQUIRE(rules.size() == 3);
  CHECK(rules[0].select.id == "linears");
  CHECK(rules[0].weight.value == "nvfp4");
  CHECK(rules[0].select.roles.at(0).value == "attn.*");
  CHECK(rules[1].select.id == "rest");
  CHECK(rules[2].select.id == "more");
}

TEST_CASE("several bases apply in order, and a chain of them works") {
  const test::TempDir scratch;
  scratch.write("deep/a.toml", "schema = 1\n[model]\npath = \"a\"\nadapter = \"none\"\n");
  scratch.write("deep/b.toml", "schema = 1\nextends = [\"./a.toml\"]\n[model]\npath = \"b\"\n");
  scratch.write("c.toml", "schema = 1\n[export]\nshard_gb = 1.0\n[model]\npath = \"c\"\n");
  const Recipe r = test::load(scratch, "extends = [\"./deep/b.toml\", \"./c.toml\"]\n");
  CHECK(r.model.path->value == "c");
  CHECK(r.model.adapter.value == "none");
  CHECK(r.output.shard_gb.value == 1.0);
}

TEST_CASE("extends by name looks into the library only") {
  const test::TempDir scratch;
  scratch.write("library/general/base.toml", kBase);
  scratch.write("library/models/llama/base.toml", "schema = 1\n[model]\npath = \"for llama\"\n");
  RecipeRequest request;
  CHECK(test::load(scratch, "extends = [\"general/base\"]\n").calibration->samples.value == 8);
  CHECK(test::load(scratch, "extends = [\"base\"]\n").calibration->samples.value == 8);
  request.model_type = "llama";
  CHECK(test::load(scratch, "extends = [\"base\"]\n", request).model.path->value == "for llama");
}

TEST_CASE("E201: a base that is not there, or outside of the library") {
  CHECK(faults("extends = [\"./no.toml\"]\n") ==
        Lines{"q.toml:2:12: error[E201]: cannot extend './no.toml': it does not exist (looked for "
              "no.toml); name a recipe of the library, such as \"general/base\", or a file with ./ "
              "or ../"});
  for (const char* name : {"general/no", "no", "general/../../q", "/etc/hostname", ""}) {
    const Lines got = faults(std::string("extends = [\"").append(name).append("\"]\n"));
    CAPTURE(name);
    REQUIRE(got.size() == 1);
    CHECK(got[0].starts_with("q.toml:2:12: error[E201]"));
  }
}

TEST_CASE("E202: a circle is named, a recipe that two bases share is none") {
  const test::TempDir scratch;
  scratch.write("a.toml", "schema = 1\nextends = [\"./q.toml\"]\n");
  CHECK(faults(scratch, [&] { test::load(scratch, "extends = [\"./a.toml\"]\n"); }) ==
        Lines{"a.toml:2:12: error[E202]: recipes extend each other: q.toml -> a.toml -> q.toml; "
              "remove one of the links"});
  scratch.write("b.toml", "schema = 1\nextends = [\"./c.toml\"]\n");
  scratch.write("c.toml", "schema = 1\n");
  CHECK_NOTHROW(test::load(scratch, "extends = [\"./b.toml\", \"./c.toml\"]\n"));
}

TEST_CASE("a fault in a base has its place in the base") {
  const test::TempDir scratch;
  scratch.write("base.toml", "schema = 1\n[calibraton]\n");
  CHECK(faults(scratch, [&] { test::load(scratch, "extends = [\"./base.toml\"]\n"); }) ==
        Lines{"base.toml:2:1: error[E101]: unknown key 'calibraton'; did you mean 'calibration'?"});
}

TEST_CASE("--set takes TOML or a bare string, names elements by id, and goes last") {
  const test::TempDir scratch;
  const Recipe r = with(scratch,
                        {"calibration.samples=99", "quantize.rule.linears.weight=nvfp4",
                         "model.path=/a b/c", "quantize.kv_cache=\"fp8\"", "export={shard_gb=2.5}",
                         "calibration.data=[\"x.txt\", \"y.txt\"]", "format.mine.use=int4",
                         "format.\"mine\".block=32", "calibration.samples=100"},
                        {{"model.path", "/from/option", "--model"}});
  CHECK(r.calibration->samples.value == 100);
  CHECK(to_string(r.calibration->samples.origin) == "--set calibration.samples");
  CHECK(r.quantize->rules.at(0).weight.value == "nvfp4");
  CHECK(r.model.path->value == "/a b/c");
  CHECK(r.quantize->kv_cache.value == "fp8");
  CHECK(r.output.shard_gb.value == 2.5);
  CHECK(r.calibration->data.size() == 2);
  CHECK(std::get<int64_t>(r.format("mine")->options.values.at(0).value) == 32);
}

TEST_CASE("--model and --output are values with a place of their own") {
  const test::TempDir scratch;
  const Recipe r =
      with(scratch, {}, {{"model.path", "1", "--model"}, {"export.path", "o", "--output"}});
  CHECK(r.model.path->value == "1");  // never TOML
  CHECK(to_string(r.model.path->origin) == "--model");
  CHECK(to_string(r.output.path->origin) == "--output");
}

TEST_CASE("a bad --set is reported with its place, whatever is wrong with it") {
  CHECK(faults("", {"quantize.rules=1"}) ==
        Lines{"--set quantize.rules: error[E101]: unknown key 'quantize.rules'; did you mean "
              "'quantize.rule'?"});
  CHECK(
      faults("", {"calibration.samples"}) ==
      Lines{"--set calibration.samples: error[E108]: expected a.b=value, found "
            "'calibration.samples'; write the dotted key, '=' and a TOML value or a bare string"});
  CHECK(faults("", {"model.path=\"x"})
            .at(0)
            .starts_with("--set model.path: error[E108]: the value is bad string"));
  CHECK(
      faults("[model]\npath = \"x\"\n", {"model.path.deep=1"}) ==
      Lines{
          "--set model.path.deep: error[E108]: 'model.path' is a string, it has no 'deep'; name a "
          "table before the last dot"});
  CHECK(faults("[[quantize.rule]]\nid = \"linears\"\nrole = \"mlp.*\"\nweight = \"fp8\"\n",
               {"quantize.rule.linear.weight=fp8"}) ==
        Lines{"--set quantize.rule.linear.weight: error[E108]: 'quantize.rule' has no element with "
              "the id 'linear'; did you mean 'linears'?"});
  CHECK(faults("", {"a=1\nb.c=2"}).size() == 1);  // one key, whatever the text
  CHECK(faults("", {"=1", "extends=x", "schema=2", "a b=1"}).size() == 4);
  CHECK(
      faults("", {"export.shard_gb=fast"}) ==
      Lines{"--set export.shard_gb: error[E102]: expected a number for 'export.shard_gb', found a "
            "string"});
}

TEST_CASE("E205: a name that the library does not have comes with its neighbours") {
  const test::TempDir scratch;
  scratch.write("lib/general/fp8.toml", "schema = 1\n");
  scratch.write("lib/general/fp8_kv.toml", "schema = 1\n");
  scratch.write("lib/general/nvfp4.toml", "schema = 1\n");
  RecipeRequest request;
  request.library = scratch.path() / "lib";
  const auto fault = [&](const std::string& name) {
    request.name = name;
    return faults(scratch, [&] { load_recipe(request, test::catalogue()); });
  };
  CHECK(fault("fp9") == Lines{"error[E205]: no recipe 'fp9' in lib/general; near: 'fp8'"});
  CHECK(fault("fp8_") ==
        Lines{"error[E205]: no recipe 'fp8_' in lib/general; near: 'fp8' and 'fp8_kv'"});
  CHECK(fault("zebra").at(0).find("the library has 'fp8', 'fp8_kv' and 'nvfp4'") !=
        std::string::npos);
  CHECK(fault("").size() == 1);
  CHECK(fault("./nowhere.toml")
            .at(0)
            .find("error[E205]: cannot read the recipe './nowhere.toml': it "
                  "does not exist") == 0);
  CHECK(fault(scratch.path().string() + "/lib").at(0).find("it is a directory") !=
        std::string::npos);
}

TEST_CASE(
    "a bare name prefers the model's folder, and a model_type cannot lead out of the library") {
  const test::TempDir scratch;
  scratch.write("lib/general/fp8.toml", "schema = 1\n");
  scratch.write("lib/models/llama/fp8.toml", "schema = 1\n");
  scratch.write("lib/evil/fp8.toml", "schema = 1\n");
  RecipeRequest request{"fp8", {}, scratch.path() / "lib", "llama", {}};
  CHECK(find_recipe(request) == scratch.path() / "lib/models/llama/fp8.toml");
  request.model_type = "gemma";
  CHECK(find_recipe(request) == scratch.path() / "lib/general/fp8.toml");
  request.model_type = "../evil";
  CHECK(find_recipe(request) == scratch.path() / "lib/general/fp8.toml");
  CHECK(library_names(request.library, "llama") == Lines{"fp8"});
}

TEST_CASE("the model's path is known before the recipe is looked up") {
  const test::TempDir scratch;
  RecipeRequest request;
  request.name = scratch.write("q.toml", "schema = 1\n[model]\npath = \"inside\"\n");
  CHECK(peek_model_path(request) == "inside");
  request.overrides = {{"model.path", "option", "--model"}};
  CHECK(peek_model_path(request) == "option");
  request.name = "only_for_llama";
  CHECK(peek_model_path(request) == "option");
  request.overrides.clear();
  CHECK(peek_model_path(request) == "");
}

TEST_CASE("a resolved recipe names the origin of its values and loads to the same recipe") {
  const test::TempDir scratch;
  scratch.write("base.toml", kBase);
  RecipeRequest request;
  request.sets = {"calibration.seed=7", "model.path=a\"b\\c\t\xc3\xa9"};
  const Recipe r = test::load(scratch, R"(extends = ["./base.toml"]
description = "says \"x\" # not a comment"
[format."odd id.#"]
use = "int4"
block = 32
[quantize]
algorithm = ["max", "awq"]
[quantize.max]
percentile = 99.9
[[quantize.rule]]
id = "named"
name = ["a.*", "b.**"]
layers = "0"
weight = "odd id.#"
optional = true
expect = "all"
[sparsify]
use = "magnitude"
[[sparsify.rule]]
id = "s"
role = "mlp.up"
expect = 3
[[eval]]
id = "ppl"
kind = "perplexity"
data = "d"
max_ratio = 1.02
max_tokens = 4000
[verify]
engines = "vllm"
)",
                              request);
  const std::string resolved = print_resolved(r);
  CHECK(resolved.find("# --set calibration.seed\n") != std::string::npos);
  CHECK(resolved.find("base.toml:5:11\n") != std::string::npos);
  CHECK(resolved.find("# default\n") != std::string::npos);

  RecipeRequest again;
  again.name = scratch.write("resolved.toml", resolved);
  const Recipe back = load_recipe(again, test::catalogue());
  CHECK(print_resolved(back, Origins::kOmit) == print_resolved(r, Origins::kOmit));
  CHECK(back.model.path->value == r.model.path->value);
  CHECK(back.description.value == "says \"x\" # not a comment");
  CHECK(back.format("odd id.#") != nullptr);
  CHECK(back.quantize->rules.at(2).select.optional.value);
  CHECK_FALSE(back.quantize->rules.at(2).select.expect->count.has_value());
  CHECK(back.sparsify->rules.at(0).expect->count == 3);
  CHECK(back.quantize->algorithms.size() == 2);
  CHECK(std::get<double>(back.quantize->algorithms[0].options.values.at(1).value) == 99.9);
  CHECK(back.evals.at(0).max_tokens->value == 4000);
}

TEST_CASE("any text survives the resolved recipe, control characters included") {
  const test::TempDir scratch;
  for (const std::string& text :
       {std::string("\x01\x1f\x7f"), std::string("\xc2\x9b\xe2\x80\xae z"),
        std::string("\xf0\x9f\x98\x80 \xed\x9f\xbf"), std::string("\"\\\"")}) {
    Recipe r = with(scratch, {});
    r.model.path = PlacedText{text, {"a\nb", 1, 1}};
    RecipeRequest again;
    again.name = scratch.write("resolved.toml", print_resolved(r));
    CHECK(load_recipe(again, test::catalogue()).model.path->value == text);
  }
  Recipe r = with(scratch, {});
  r.model.path = PlacedText{"bad \xff", {}};
  RecipeRequest again;
  again.name = scratch.write("resolved.toml", print_resolved(r));
  CHECK(load_recipe(again, test::catalogue()).model.path->value == "bad \xef\xbf\xbd");
}

TEST_CASE("every recipe of the library loads, resolves to itself and is documented") {
  const Lines names = library_names(library(), "");
  CHECK(names.size() >= 14);
  const test::TempDir scratch;
  for (const std::string& name : names) {
    CAPTURE(name);
    const RecipeRequest request{name, {}, library(), "", {}};
    const Recipe r = load_recipe(request, test::catalogue());
    CHECK(r.name.value == name);
    CHECK(!r.description.value.empty());
    CHECK(r.warnings.empty());
    RecipeRequest again;
    again.name = scratch.write(name + ".toml", print_resolved(r));
    CHECK(print_resolved(load_recipe(again, test::catalogue()), Origins::kOmit) ==
          print_resolved(r, Origins::kOmit));
    std::ifstream in(find_recipe(request));
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    for (const char* heading : {"# When: ", "# Served by: ", "# Quality: ", "# Next: "}) {
      CHECK(text.find(heading) != std::string::npos);
    }
  }
}

// ModelOpt's presets of the same names: format of weights, of inputs, of the KV cache, and whether
// a static range makes calibration necessary (presets of modelopt_recipes/configs).
TEST_CASE("library recipes quantize what ModelOpt's presets of their names do") {
  struct Preset {
    const char *name, *weight, *input, *kv;
    bool calibrated, attention;
  };
  const auto show = [](const Recipe& r, const std::string& id) -> std::string {
    const Format* f = r.format(id);
    if (f == nullptr) return "none";
    std::string out = f->use.value;
    for (const OptionSetting& o : f->options.values) {
      if (const auto* text = std::get_if<std::string>(&o.value)) out += " " + *text;
      if (const auto* n = std::get_if<int64_t>(&o.value)) out += " " + std::to_string(*n);
    }
    return out;
  };
  for (const Preset& p : {Preset{"fp8", "fp8 tensor", "fp8 tensor", "none", true, true},
                          {"fp8_kv", "fp8 tensor", "fp8 tensor", "fp8 tensor", true, true},
                          {"fp8_pc_pt", "fp8 channel", "fp8 token", "none", false, true},
                          {"fp8_2d", "fp8 block", "none", "none", false, true},
                          {"int8", "int8 channel", "int8 tensor", "none", true, true},
                          {"int8_wo", "int8 channel", "none", "none", false, true},
                          {"int4_wo", "int4 128", "none", "none", false, true},
                          {"mxfp4", "mxfp4", "mxfp4", "none", false, true},
                          {"mxfp8", "mxfp8", "mxfp8", "none", false, true},
                          {"nvfp4", "nvfp4 16", "nvfp4 16", "none", true, true},
                          {"nvfp4_mlp_only", "nvfp4 16", "nvfp4 16", "none", true, false},
                          {"w4a16_nvfp4", "nvfp4 16", "none", "none", false, true}}) {
    CAPTURE(p.name);
    const Recipe r = load_recipe({p.name, {}, library(), "", {}}, test::catalogue());
    REQUIRE(r.quantize->rules.size() == 1);
    const QuantizeRule& rule = r.quantize->rules[0];
    CHECK(show(r, rule.weight.value) == p.weight);
    CHECK(show(r, rule.input.value) == p.input);
    CHECK(show(r, r.quantize->kv_cache.value) == p.kv);
    CHECK(r.calibration.has_value() == p.calibrated);
    CHECK((rule.select.roles.at(0).value == "attn.*") == p.attention);
  }
}

}  // namespace mopt
