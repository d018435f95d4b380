#include "reader.hpp"

#include <doctest/doctest.h>

#include <functional>

#include "description_read.hpp"
#include "hf_exporter.hpp"
#include "scheme.hpp"
#include "test_support.hpp"
#include "tests/json.hpp"

using namespace mopt;
using namespace mopt::hf;
using namespace mopt::hf::test;
using nlohmann::json;

namespace {

DLDataType dtype_of(const std::string& tag) {
  static const std::map<std::string, DLDataType> kTags{
      {"U8", kU8},        {"I8", kI8},   {"F8_E4M3", kE4m3}, {"F8_E5M2", kE5m2},
      {"F8_E8M0", kE8m0}, {"F32", kF32}, {"BF16", kBf16},    {"F16", kF16}};
  return kTags.at(tag);
}

const Header kScalar{"F32", {}};

struct Files {
  Headers tensors;
  std::map<std::string, std::string> documents;
};

struct Found {
  std::string code, tensor, message;
  mopt_severity severity;
};
struct Param {
  Kind weight, input, kv;
  std::string scheme;
  int64_t rows, cols;
  std::map<std::string, std::string> roles;
};
struct Result {
  std::map<std::string, Param> params;
  std::vector<Found> problems;
  bool has(const std::string& code, const std::string& tensor, const std::string& text) const {
    for (const Found& p : problems) {
      if (p.code == code && p.tensor == tensor && p.message.find(text) != std::string::npos) {
        return true;
      }
    }
    return false;
  }
};

Result read(const Files& files) {
  std::vector<mopt_tensor_decl> decls;
  for (const auto& [name, header] : files.tensors) {
    decls.push_back({sizeof(mopt_tensor_decl), dtype_of(header.dtype), str(name),
                     header.shape.data(), static_cast<int32_t>(header.shape.size()), 0});
  }
  const mopt_checkpoint checkpoint{sizeof(mopt_checkpoint),
                                   0,
                                   const_cast<Files*>(&files),
                                   [](void* ctx, mopt_str name) noexcept -> mopt_str {
                                     const auto& documents =
                                         static_cast<const Files*>(ctx)->documents;
                                     const auto at = documents.find(std::string(view(name)));
                                     return at == documents.end() ? mopt_str{} : str(at->second);
                                   },
                                   decls.data(),
                                   decls.size()};
  Result result;
  const mopt_read_sink sink{
      &result,
      [](void* ctx, const mopt_param* p, int64_t rows, int64_t cols, const mopt_stored_role* roles,
         uint64_t n) noexcept -> mopt_error* {
        return guard([&] {
          Param param{kind_of(p->weight), kind_of(p->input), kind_of(p->kv), {}, rows, cols, {}};
          if (p->weight != nullptr) param.scheme = view(p->weight->name);
          for (uint64_t i = 0; i < n; ++i) {
            param.roles.emplace(view(roles[i].role), view(roles[i].name));
          }
          static_cast<Result*>(ctx)->params.emplace(view(p->name), std::move(param));
        });
      },
      [](void* ctx, const mopt_problem* p) noexcept -> mopt_error* {
        return guard([&] {
          CHECK_FALSE(view(p->message).empty());
          CHECK_FALSE(view(p->remedy).empty());
          static_cast<Result*>(ctx)->problems.push_back(
              {std::string(view(p->code)), std::string(view(p->tensor)),
               std::string(view(p->message)), p->severity});
        });
      }};
  HfExporter exporter;
  exporter.read(Checkpoint(checkpoint), ReadSink(sink));
  return result;
}

Files load(const std::string& folder) {
  return {headers(folder),
          {{"config.json", text(folder, "config.json")},
           {"hf_quant_config.json", text(folder, "hf_quant_config.json")}}};
}

// Edits quantization_config and "quantization" alike.
void edit(Files& files, const std::function<void(json&, bool nested)>& change) {
  json config = mopt::test::parse_json(files.documents["config.json"]);
  json quant = mopt::test::parse_json(files.documents["hf_quant_config.json"]);
  change(config["quantization_config"], false);
  change(quant["quantization"], true);
  files.documents["config.json"] = mopt::test::json_text(config);
  files.documents["hf_quant_config.json"] = mopt::test::json_text(quant);
}
void edit_one(Files& files, const std::string& file, const std::function<void(json&)>& change) {
  json document = mopt::test::parse_json(files.documents[file]);
  change(document);
  files.documents[file] = mopt::test::json_text(document);
}

// The export with one defect: exactly one problem, with this code and tensor.
void expect_one(const std::string& folder, const std::function<void(Files&)>& damage,
                const std::string& code, const std::string& tensor, const std::string& message) {
  Files files = load(folder);
  if (files.tensors.empty()) return;
  damage(files);
  const Result result = read(files);
  std::string all;
  for (const Found& p : result.problems)
    all += p.code + " " + p.tensor + ": " + p.message + "\n";
  CAPTURE(folder);
  CAPTURE(message);
  INFO(all);
  CHECK(result.problems.size() == 1);
  CHECK(result.has(code, tensor, message));
}

const std::string kQ = "model.layers.0.self_attn.q_proj", kO = "model.layers.1.self_attn.o_proj",
                  kDown = "model.layers.0.mlp.down_proj", kK = "model.layers.1.self_attn.k_proj";

std::function<void(Files&)> remove(const std::string& tensor) {
  return [=](Files& f) { REQUIRE(f.tensors.erase(tensor) == 1); };
}
std::function<void(Files&)> shape(const std::string& tensor, std::vector<int64_t> to) {
  return [=](Files& f) { f.tensors.at(tensor).shape = to; };
}
std::function<void(Files&)> dtype(const std::string& tensor, const std::string& to) {
  return [=](Files& f) { f.tensors.at(tensor).dtype = to; };
}

}  // namespace

TEST_CASE("every golden export is read back whole and without a finding") {
  int exports = 0;
  for (const Export& e : kExports) {
    const Files files = load(e.folder);
    if (files.tensors.empty()) continue;
    CAPTURE(e.folder);
    const Result result = read(files);
    for (const Found& p : result.problems) {
      FAIL_CHECK(p.code << " " << p.tensor << ": " << p.message);
    }
    const std::string family = e.folder.substr(0, e.folder.find('/'));
    const Headers source = headers(family + "/source");
    size_t quantized = 0, roles = 0, companions = 0;
    for (const auto& [name, header] : files.tensors) {
      if (!name.ends_with(".weight")) {
        ++companions;
        continue;
      }
      const std::string module = name.substr(0, name.size() - 7);
      if (!files.tensors.contains(module + ".weight_scale")) continue;
      ++quantized;
      CAPTURE(name);
      REQUIRE(result.params.contains(name));
      const Param& p = result.params.at(name);
      CHECK(p.weight == kind_of(e.weight));
      CHECK(p.input == kind_of(e.input));
      CHECK(p.scheme == view(e.weight->name));
      const bool kv = name.ends_with("k_proj.weight") || name.ends_with("v_proj.weight");
      CHECK(p.kv == (kv ? kind_of(e.kv) : Kind::kNone));
      roles += p.roles.size() - 1;
      if (source.contains(name)) {
        CHECK(std::vector<int64_t>{p.rows, p.cols} == source.at(name).shape);
      }
    }
    // Every tensor beside a weight was given its role (these models have no biases).
    CHECK(roles == companions);
    CHECK(result.params.size() == quantized);
    ++exports;
  }
  CHECK(exports >= 5);
}

TEST_CASE("algorithms that cannot be expressed are named") {
  for (const auto& [folder, algorithm] :
       {std::pair<std::string, std::string>{"llama/nvfp4_awq", "NVFP4_AWQ"},
        {"llama/nvfp4_svdquant", "NVFP4_SVD"},
        {"llama/w4a8_awq", "W4A8_AWQ"},
        {"gemma3/w4a8_awq", "W4A8_AWQ"},
        {"qwen3_moe/nvfp4_awq", "NVFP4_AWQ"}}) {
    const Files files = load(folder);
    if (files.tensors.empty()) continue;
    const Result result = read(files);
    REQUIRE(result.problems.size() == 1);
    CHECK(result.problems[0].code == "V110");
    CHECK(result.problems[0].message.find("found quant_algo " + algorithm) != std::string::npos);
    CHECK(result.params.empty());
  }
}

TEST_CASE("missing tensors are named") {
  const std::string none = "found no such tensor";
  expect_one("llama/fp8_kv", remove(kQ + ".weight_scale"), "V101", kQ + ".weight_scale", none);
  expect_one("llama/fp8_kv", remove(kQ + ".input_scale"), "V101", kQ + ".input_scale", none);
  expect_one("llama/nvfp4_mlp_only", remove(kDown + ".weight_scale_2"), "V101",
             kDown + ".weight_scale_2", none);
  expect_one("llama/mxfp8", remove(kO + ".weight"), "V101", kO + ".weight", none);
  expect_one("llama/fp8_kv", remove(kK + ".k_scale"), "V101", kK + ".k_scale", none);
  expect_one("llama/int8_sq", remove(kQ + ".pre_quant_scale"), "V101", kQ + ".pre_quant_scale",
             none);
}

TEST_CASE("a defective module is not handed out, the others are") {
  Files files = load("llama/fp8_kv");
  const size_t whole = read(files).params.size();
  files.tensors.erase(kQ + ".weight_scale");
  const Result result = read(files);
  CHECK(result.params.size() == whole - 1);
  CHECK_FALSE(result.params.contains(kQ + ".weight"));
}

TEST_CASE("tensors that nothing asks for are named") {
  const auto add = [](const std::string& name, const std::string& type,
                      std::vector<int64_t> shape) {
    return [=](Files& f) { f.tensors[name] = {type, shape}; };
  };
  expect_one("llama/nvfp4_mlp_only", add(kQ + ".weight_scale", "F32", {}), "V102",
             kQ + ".weight_scale", "is not quantized");
  expect_one("llama/fp8_kv", add(kQ + ".weight_scale_2", "F32", {}), "V102", kQ + ".weight_scale_2",
             "has no such tensor");
  expect_one("llama/int4_wo", add(kQ + ".input_scale", "F32", {}), "V102", kQ + ".input_scale",
             "has no such tensor");
  expect_one("llama/fp8_kv", add(kQ + ".input_quantizer._amax", "F32", {}), "V102",
             kQ + ".input_quantizer._amax", "calibration state");
  Files misspelt = load("llama/mxfp8");
  misspelt.tensors[kDown + ".weight_scal"] = misspelt.tensors.at(kDown + ".weight_scale");
  misspelt.tensors.erase(kDown + ".weight_scale");
  const Result result = read(misspelt);
  CHECK(result.has("V102", kDown + ".weight_scal", "no such name"));
  CHECK(result.has("V101", kDown + ".weight_scale", "found no such tensor"));
}

TEST_CASE("wrong shapes are named") {
  expect_one("llama/fp8_kv", shape(kQ + ".weight_scale", {3}), "V103", kQ + ".weight_scale",
             "expected one value, found [3]");
  expect_one("llama/fp8_kv", shape(kK + ".k_scale", {2}), "V103", kK + ".k_scale",
             "expected one value, found [2]");
  expect_one("llama/int4_wo", shape(kDown + ".weight_scale", {64, 2}), "V103",
             kDown + ".weight_scale", "expected [128, 2]");
  expect_one("llama/mxfp8", shape(kDown + ".weight_scale", {8, 128}), "V103",
             kDown + ".weight_scale", "(transposed)");
  expect_one("llama/nvfp4_mlp_only", shape(kDown + ".weight", {64, 128}), "V103",
             kDown + ".weight_scale", "found [128, 16]");
  expect_one("llama/fp8_2d", shape(kDown + ".weight_scale", {2, 1, 1, 1}), "V103",
             kDown + ".weight_scale", "expected [1, 1, 2, 1]");
  expect_one(
      "llama/mxfp8",
      [](Files& f) {
        f.tensors.at(kDown + ".weight").shape = {128, 248};
        f.tensors.at(kDown + ".weight_scale").shape = {128, 8};
      },
      "V103", kDown + ".weight", "K = 248 is not a multiple of the block size 32");
}

TEST_CASE("wrong types are named") {
  expect_one("llama/nvfp4_mlp_only", dtype(kDown + ".weight", "I8"), "V104", kDown + ".weight",
             "expected U8 for NVFP4, found I8");
  expect_one("llama/mxfp8", dtype(kDown + ".weight", "F8_E5M2"), "V104", kDown + ".weight",
             "expected F8_E4M3");
  expect_one("llama/mxfp8", dtype(kDown + ".weight_scale", "F8_E8M0"), "V104",
             kDown + ".weight_scale", "expected U8");
  expect_one("llama/nvfp4_mlp_only", dtype(kDown + ".weight_scale_2", "BF16"), "V104",
             kDown + ".weight_scale_2", "expected F32, found BF16");
}

TEST_CASE("a description that contradicts the tensors is said once") {
  expect_one(
      "llama/nvfp4_mlp_only",
      [](Files& f) { edit(f, [](json& q, bool) { q["quant_algo"] = "FP8"; }); }, "V106",
      "model.layers.0.mlp.down_proj.weight", "quant_algo is FP8, but no quantized module fits it");
  expect_one(
      "llama/fp8_kv",
      [](Files& f) {
        edit(f,
             [](json& q, bool nested) { q[nested ? "exclude_modules" : "ignore"].push_back(kO); });
      },
      "V106", kO + ".weight", "is listed as unquantized, but has quantized weights");
  expect_one(
      "llama/int4_wo",
      [](Files& f) {
        f.tensors.erase(kO + ".weight_scale");
        f.tensors[kO + ".weight"] = {"BF16", {128, 128}};
      },
      "V106", kO + ".weight", "is not quantized and not listed");
  expect_one(
      "llama/mxfp8",
      [](Files& f) {
        edit(f, [](json& q, bool nested) {
          q[nested ? "exclude_modules" : "ignore"] = json::array();
        });
      },
      "V106", "lm_head.weight", "not listed");
  expect_one(
      "llama/mxfp8",
      [](Files& f) {
        edit_one(f, "hf_quant_config.json", [](json& q) { q["quantization"]["group_size"] = 64; });
      },
      "V106", "model.layers.0.mlp.down_proj.weight_scale", "group_size 64 does not fit");
  expect_one(
      "llama/int4_wo",
      [](Files& f) {
        f.documents.erase("hf_quant_config.json");
        edit_one(f, "config.json", [](json& c) { c.erase("quantization_config"); });
      },
      "V106", "model.layers.0.mlp.down_proj.weight", "neither config.json nor");
}

TEST_CASE("the two files must say the same") {
  const auto nested = [](const std::function<void(json&)>& change) {
    return [=](Files& f) {
      edit_one(f, "hf_quant_config.json", [&](json& q) { change(q["quantization"]); });
    };
  };
  Files files = load("llama/fp8_kv");
  nested([](json& q) { q["quant_algo"] = "NVFP4"; })(files);
  CHECK(read(files).has("V106", "",
                        "hf_quant_config.json says quant_algo NVFP4, config.json says FP8"));
  expect_one("llama/nvfp4_mlp_only",
             nested([](json& q) { q["exclude_modules"].push_back("model.nothing"); }), "V106", "",
             "differ in 1 entries, the first is 'model.nothing'");
  expect_one(
      "llama/fp8_kv",
      [](Files& f) {
        edit_one(f, "config.json", [](json& c) { c["quantization_config"].erase("quant_method"); });
      },
      "V106", "", "no quant_method");
  expect_one(
      "llama/int4_wo",
      [](Files& f) { edit_one(f, "config.json", [](json& c) { c.erase("quantization_config"); }); },
      "V106", "", "only for FP8 variants and NVFP4, found W4A16_AWQ");
}

TEST_CASE("KV scales and their declaration go together") {
  expect_one(
      "llama/fp8_kv",
      [](Files& f) {
        edit(f,
             [](json& q, bool n) { q[n ? "kv_cache_quant_algo" : "kv_cache_scheme"] = nullptr; });
      },
      "V106", "", "no KV cache algorithm is declared");
  expect_one(
      "llama/fp8_kv",
      [](Files& f) {
        std::erase_if(f.tensors, [](const auto& t) {
          return t.first.ends_with(".k_scale") || t.first.ends_with(".v_scale");
        });
      },
      "V106", "", "engines use 1.0");
}

TEST_CASE("an unknown algorithm and another layout are told apart") {
  expect_one(
      "llama/mxfp8",
      [](Files& f) { edit(f, [](json& q, bool) { q["quant_algo"] = "FP9_TURBO"; }); }, "V110", "",
      "found quant_algo FP9_TURBO");
  Files files;
  files.documents["config.json"] = R"({"quantization_config": {"quant_method": "gptq"}})";
  try {
    read(files);
    FAIL("accepted");
  } catch (const Error& e) {
    CHECK(e.code() == MOPT_UNSUPPORTED);
    CHECK(std::string(e.what()).find("\"gptq\"") != std::string::npos);
  }
}

TEST_CASE("broken texts are data loss, with the file's name") {
  for (const std::string broken : {"{\"quantization_config\": ", "[]",
                                   R"({"quantization_config": {"quant_method": "modelopt",
                                       "ignore": 3}})"}) {
    Files files;
    files.documents["config.json"] = broken;
    try {
      read(files);
      FAIL("accepted " << broken);
    } catch (const Error& e) {
      CHECK(e.code() == MOPT_DATA_LOSS);
      CHECK(e.where() == "config.json");
    }
  }
}

TEST_CASE("a block of zero columns in a description does not divide anything") {
  for (const std::string entry :
       {R"("quant_algo": "NVFP4", "group_size": 0)",
        R"("quant_algo": "X", "mopt_scheme": {"weight": {"name": "x", "granularity": 4,
           "element": [0, 8], "scale": [2, 32], "block": [0, 0], "flags": 0}, "input": null})"}) {
    Files files;
    files.documents["config.json"] =
        R"({"quantization_config": {"quant_method": "modelopt", )" + entry + "}}";
    files.tensors = {{"l.a.weight", {"I8", {8, 32}}}, {"l.a.weight_scale", kScalar}};
    CHECK(read(files).problems.size() == 1);
  }
}

TEST_CASE("exclude patterns match as in a shell, or name a module around") {
  const auto match = [](const std::string& pattern, const std::string& module) {
    return excluded({pattern}, module);
  };
  CHECK(match("model.layers.1*", "model.layers.1.mlp.up_proj"));
  CHECK(match("*self_attn*", "model.layers.1.self_attn.q_proj"));
  CHECK(match("model.*.up_proj", "model.layers.1.mlp.up_proj"));
  CHECK(match("model.layers.?.mlp", "model.layers.1.mlp"));
  CHECK(match("model.layers.1.mlp", "model.layers.1.mlp.up_proj"));
  CHECK_FALSE(match("model.layers.1", "model.layers.10"));
  CHECK_FALSE(match("model.layers.1.*", "model.layers.10.mlp"));
  CHECK_FALSE(match("lm_head", "foo.lm_head"));
  CHECK_FALSE(match("*a*a*a*a*a*a*a*a*a*a*b", std::string(200, 'a')));
}

TEST_CASE("a checkpoint that is not quantized yields nothing") {
  Files files;
  files.tensors["model.up.weight"] = {"BF16", {8, 8}};
  files.documents["config.json"] = R"({"model_type": "llama"})";
  const Result result = read(files);
  CHECK(result.params.empty());
  CHECK(result.problems.empty());
}

namespace {

struct Written {
  std::string module;
  const mopt_scheme* weight;
  const mopt_scheme* input;
  std::vector<std::pair<std::string, Header>> tensors;  // suffix -> as stored
};

// Writes the texts for these modules and reads them back.
Result round_trip(const std::vector<Written>& modules) {
  std::vector<mopt_param> params;
  std::vector<std::string> names;
  for (const Written& m : modules)
    names.push_back(m.module + ".weight");
  Files files;
  for (size_t i = 0; i < modules.size(); ++i) {
    mopt_param p{};
    p.struct_size = sizeof(mopt_param);
    p.kind = MOPT_PARAM_LINEAR;
    p.name = str(names[i]);
    p.weight = modules[i].weight;
    p.input = modules[i].input;
    params.push_back(p);
    for (const auto& [suffix, header] : modules[i].tensors) {
      files.tensors[modules[i].module + suffix] = header;
    }
  }
  HfExporter exporter;
  files.documents = finish(exporter, job("{}", params));
  return read(files);
}

}  // namespace

TEST_CASE("a mixed export reads back with each layer's own schemes") {
  const Result result = round_trip(
      {{"l.a",
        &kFp8,
        &kFp8,
        {{".weight", {"F8_E4M3", {8, 32}}}, {".weight_scale", kScalar}, {".input_scale", kScalar}}},
       {"l.b",
        &kNvfp4,
        nullptr,
        {{".weight", {"U8", {8, 16}}},
         {".weight_scale", {"F8_E4M3", {8, 2}}},
         {".weight_scale_2", kScalar}}},
       {"l.c", nullptr, nullptr, {{".weight", {"BF16", {8, 32}}}}}});
  CHECK(result.problems.empty());
  REQUIRE(result.params.size() == 2);
  CHECK(result.params.at("l.a.weight").input == Kind::kFp8Tensor);
  CHECK(result.params.at("l.b.weight").weight == Kind::kNvfp4);
  CHECK(result.params.at("l.b.weight").input == Kind::kNone);
  CHECK(result.params.at("l.b.weight").cols == 32);
}

TEST_CASE("a module that the mixed map forgets, and one that is not there") {
  Files files;
  files.documents["config.json"] = R"({"quantization_config": {"quant_algo": "MIXED_PRECISION",
      "quant_method": "modelopt", "quantized_layers": {"l.gone": {"quant_algo": "FP8"}}}})";
  files.tensors = {{"l.a.weight", {"F8_E4M3", {8, 32}}}, {"l.a.weight_scale", kScalar}};
  const Result result = read(files);
  CHECK(result.problems.size() == 2);
  CHECK(result.has("V106", "l.a.weight", "quantized_layers does not name it"));
  CHECK(result.has("V101", "l.gone.weight", "found no such tensor"));
}

TEST_CASE("inputs that were kept are not read as quantized") {
  const std::vector<std::pair<std::string, Header>> tensors{{".weight", {"U8", {8, 16}}},
                                                            {".weight_scale", {"U8", {8, 1}}}};
  Result result = round_trip({{"l.a", &kMxfp4, nullptr, tensors}});
  CHECK(result.problems.empty());
  CHECK(result.params.at("l.a.weight").input == Kind::kNone);
  result = round_trip({{"l.a", &kMxfp4, &kMxfp4Input, tensors}});
  CHECK(result.params.at("l.a.weight").input == Kind::kMxfp4);
}

TEST_CASE("FP8 weights without any input scale are weight-only") {
  const Result result = round_trip(
      {{"l.a", &kFp8, nullptr, {{".weight", {"F8_E4M3", {8, 32}}}, {".weight_scale", kScalar}}}});
  CHECK(result.problems.empty());
  CHECK(result.params.at("l.a.weight").input == Kind::kNone);
}

TEST_CASE("a structure that the layout has no name for reads back under its scheme's name") {
  const mopt_scheme ternary = scheme("ternary", kI8, MOPT_PER_BLOCK, kF32, 1, 64);
  const Result result =
      round_trip({{"l.a",
                   &ternary,
                   nullptr,
                   {{".weight", {"I8", {8, 128}}}, {".weight_scale", {"F32", {8, 2}}}}}});
  for (const Found& p : result.problems)
    FAIL_CHECK(p.message);
  REQUIRE(result.params.contains("l.a.weight"));
  CHECK(result.params.at("l.a.weight").scheme == "ternary");
}

TEST_CASE("an unquantized projection keeps its KV scale") {
  Files files;
  files.documents["config.json"] = R"({"quantization_config": {"quant_algo": null, "ignore": [],
      "kv_cache_scheme": {"num_bits": 8, "type": "float"}, "quant_method": "modelopt"}})";
  files.tensors = {{"l.k_proj.weight", {"BF16", {8, 32}}},
                   {"l.k_proj.k_scale", kScalar},
                   {"l.v_proj.weight", {"BF16", {8, 32}}},
                   {"l.v_proj.v_scale", kScalar}};
  const Result result = read(files);
  CHECK(result.problems.empty());
  REQUIRE(result.params.contains("l.k_proj.weight"));
  const Param& k = result.params.at("l.k_proj.weight");
  CHECK(k.weight == Kind::kNone);
  CHECK(k.kv == Kind::kFp8Tensor);
  CHECK(k.roles == std::map<std::string, std::string>{{"weight", "l.k_proj.weight"},
                                                      {"k_scale", "l.k_proj.k_scale"}});
}
