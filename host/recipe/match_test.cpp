#include "host/recipe/match.hpp"

#include <doctest/doctest.h>

#include "host/recipe/recipe_test.hpp"

namespace mopt {
namespace {

// The definition, by trying every way to split: slow and plain.
bool by_definition(const std::string& pattern, const std::string& text) {
  if (pattern.empty()) return text.empty();
  if (pattern[0] == '*') {
    for (size_t n = 0; n <= text.size(); ++n) {
      if (text.substr(0, n).find('.') != std::string::npos) break;
      if (by_definition(pattern.substr(1), text.substr(n))) return true;
    }
    return false;
  }
  return !text.empty() && text[0] == pattern[0] && by_definition(pattern.substr(1), text.substr(1));
}

Selector selector(std::string id, std::vector<std::string> roles,
                  std::vector<std::string> names = {}, std::string layers = "") {
  Selector s;
  s.id = std::move(id);
  s.origin = {"q.toml", 5, 1};
  for (auto& role : roles)
    s.roles.push_back({role, {}});
  for (auto& name : names)
    s.names.push_back({name, {}});
  if (!layers.empty()) s.layers = PlacedText{layers, {"q.toml", 9, 10}};
  return s;
}

const std::vector<Subject> kModel = {
    {"model.layers.0.self_attn.q_proj.weight", "attn.q", 0},
    {"model.layers.0.mlp.up_proj.weight", "mlp.up", 0},
    {"model.layers.1.self_attn.q_proj.weight", "attn.q", 1},
    {"model.layers.1.mlp.up_proj.weight", "mlp.up", 1},
    {"lm_head.weight", "lm_head", -1},
};

}  // namespace

TEST_CASE("names match by segment") {
  CHECK(matches_name("model.layers.1", "model.layers.1"));
  CHECK_FALSE(matches_name("model.layers.1", "model.layers.10"));
  CHECK_FALSE(matches_name("model.layers.1", "model.layers.1.mlp"));
  CHECK(matches_name("model.layers.*.mlp.*", "model.layers.12.mlp.up_proj.weight"));
  CHECK(matches_name("model.layers.*.mlp.*.weight", "model.layers.12.mlp.up_proj.weight"));
  CHECK_FALSE(matches_name("model.*.mlp", "model.layers.1.mlp"));
  CHECK(matches_name("model.**.mlp", "model.layers.1.mlp"));
  CHECK(matches_name("model.**.mlp", "model.mlp"));
  CHECK(matches_name("**", "anything.at.all.weight"));
  CHECK(matches_name("**.q_proj", "model.layers.0.self_attn.q_proj.weight"));
  CHECK_FALSE(matches_name("**.q_proj", "model.layers.0.self_attn.q_proj.bias"));
  CHECK(matches_name("**.a.**.b", "x.a.y.a.z.b"));
  CHECK_FALSE(matches_name("**.a.**.b", "x.b.y.a"));
  CHECK(matches_name("*_proj", "q_proj"));
  CHECK(matches_name("a*b*c", "aXbYbZc"));
  CHECK_FALSE(matches_name("a*b", "aXc"));
  CHECK_FALSE(matches_name("q_proj", ""));
}

TEST_CASE("single stars match exactly as defined, over all short patterns and names") {
  const std::string letters = "a.*";
  const auto word = [&](int code, int base) {
    std::string out;
    for (; code > 0; code /= base)
      out += letters[static_cast<size_t>(code % base)];
    return out;
  };
  for (int p = 1; p < 243; ++p) {
    const std::string pattern = word(p, 3);
    if (!pattern_fault(pattern).empty() || pattern.find("**") != std::string::npos) continue;
    for (int n = 1; n < 128; ++n) {
      const std::string name = word(n, 2);
      CAPTURE(pattern);
      CAPTURE(name);
      CHECK(matches_name(pattern, name) == by_definition(pattern, name));
    }
  }
}

TEST_CASE("a pattern of many stars is decided at once") {
  const std::string stars(60, '*');
  std::string pattern = "a";
  for (int i = 0; i < 40; ++i)
    pattern += "*a";
  CHECK_FALSE(matches_name(pattern + "b", std::string(2000, 'a')));
}

TEST_CASE("patterns that can never be meant are faults") {
  CHECK(pattern_fault("a.b.*") == "");
  CHECK(pattern_fault("a.**.b") == "");
  CHECK(pattern_fault("") != "");
  CHECK(pattern_fault("a..b") != "");
  CHECK(pattern_fault("a.") != "");
  CHECK(pattern_fault("a**.b") != "");
}

TEST_CASE("roles match exactly or below a prefix") {
  CHECK(matches_role("attn.*", "attn.q"));
  CHECK(matches_role("moe.*", "moe.expert.up"));
  CHECK(matches_role("lm_head", "lm_head"));
  CHECK_FALSE(matches_role("attn", "attn.q"));
  CHECK_FALSE(matches_role("attn.*", "attn"));
  CHECK_FALSE(matches_role("mlp.*", "mlpx.up"));
  CHECK_FALSE(matches_role("attn.*", ""));
}

TEST_CASE("every role of the vocabulary is a role, what is not is a fault") {
  for (const std::string_view role : all_roles()) {
    CAPTURE(role);
    CHECK(role_fault(role) == "");
    CHECK(!explain_role(role).empty());
  }
  for (const char* good :
       {"attn.*", "moe.*", "moe.expert.*", "mtp.attn.q", "linear_attn.in", "vision.*", "mamba.*"}) {
    CHECK(role_fault(good) == "");
  }
  CHECK(role_fault("atn.q") == "did you mean 'attn.q'?");
  CHECK(role_fault("mlp.gat") == "did you mean 'mlp.gate'?");
  for (const char* bad : {"", "*", "attn", "attn.", "mlp.x.*", "mtp.", "moe.*.up"}) {
    CAPTURE(bad);
    CHECK(role_fault(bad) != "");
  }
  CHECK(explain_role("mtp.attn.q") == explain_role("mtp.*"));
  CHECK(explain_role("nothing") == "");
}

TEST_CASE("layer ranges count from both ends") {
  using Flags = std::vector<bool>;
  CHECK(Layers("0-1,-1").resolve(5) == Flags{true, true, false, false, true});
  CHECK(Layers("-2--1").resolve(4) == Flags{false, false, true, true});
  CHECK(Layers("1--2").resolve(4) == Flags{false, true, true, false});
  CHECK(Layers(" 2 , 0 ").resolve(3) == Flags{true, false, true});
  CHECK(Layers("0").resolve(1) == Flags{true});
}

TEST_CASE("E206: bad layer ranges are refused, some only for a model") {
  for (const char* bad :
       {"", "a", "1-", "3-1", "-1--3", "1,,2", "1;2", "0x1", "1-2-3", "99999999999"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(Layers{bad}, Failure);
  }
  for (const char* bad : {"5", "-6", "3-5", "4--4"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(Layers(bad).resolve(5), Failure);
  }
  const Selector s = selector("a", {"mlp.*"}, {}, "7");
  try {
    RuleSet({&s}, 5);
    FAIL("accepted");
  } catch (const Failure& failure) {
    CHECK(format(failure.diagnostics().at(0)) ==
          "q.toml:9:10: error[E206]: bad layers '7': the model has 5 layers, 0 to 4; write numbers "
          "and "
          "ranges such as \"0-3,-1\"");
  }
}

TEST_CASE("the last rule that covers a tensor decides, and without one it is copied") {
  const Selector all = selector("all", {"attn.*", "mlp.*"});
  const Selector first = selector("first", {}, {}, "0");
  const Selector named = selector("named", {"mlp.*"}, {"model.layers.1.**"});
  const RuleSet rules({&all, &first, &named}, 2);
  CHECK(rules.decide(kModel[0]) == 1);
  CHECK(rules.decide(kModel[1]) == 1);
  CHECK(rules.decide(kModel[2]) == 0);
  CHECK(rules.decide(kModel[3]) == 2);
  CHECK_FALSE(rules.decide(kModel[4]).has_value());
}

TEST_CASE("what is copied by default needs its exact role") {
  const Selector glob = selector("glob", {"moe.*"}, {});
  const Selector names = selector("names", {}, {"**"});
  const Selector exact = selector("exact", {"lm_head", "moe.router"});
  const RuleSet rules({&glob, &names, &exact}, 1);
  const Subject head{"lm_head.weight", "lm_head", -1},
      router{"model.layers.0.mlp.gate.weight", "moe.router", 0};
  CHECK_FALSE(rules.covers(0, router));
  CHECK_FALSE(rules.covers(1, router));
  CHECK_FALSE(rules.covers(1, head));
  CHECK(rules.covers(2, router));
  CHECK(rules.covers(2, head));
  for (const char* role :
       {"norm", "embed", "moe.router", "lm_head", "mamba.conv", "linear_attn.conv", "mtp.attn.q",
        "vision.mlp.up", "projector", "kv_cache"}) {
    CAPTURE(role);
    CHECK(copied_by_default(role, "x.weight"));
    CHECK_FALSE(rules.covers(1, {"x.weight", role, 0}));
  }
  for (const char* role : {"attn.q", "mlp.down", "moe.expert.up", "moe.shared.gate", "mamba.in"}) {
    CHECK_FALSE(copied_by_default(role, "x.weight"));
  }
}

TEST_CASE("without roles the usual names of such tensors are copied") {
  for (const char* name :
       {"lm_head.weight", "model.embed_tokens.weight", "model.layers.0.input_layernorm.weight",
        "model.norm.weight", "model.layers.0.mlp.gate.weight", "mtp.layers.0.q_proj.weight",
        "model.layers.0.block_sparse_moe.gate.weight", "model.visual.blocks.0.attn.qkv.weight",
        "model.layers.0.linear_attn.conv1d.weight", "transformer.h.0.ln_1.weight",
        "model.layers.0.mlp.router.weight", "model.multi_modal_projector.linear.weight"}) {
    CAPTURE(name);
    CHECK(copied_by_default("", name));
    CHECK(copied_by_default("other", name));
  }
  for (const char* name :
       {"model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.gate_proj.weight",
        "model.layers.0.mlp.experts.3.up_proj.weight",
        "model.layers.0.block_sparse_moe.experts.0.w1.weight"}) {
    CAPTURE(name);
    CHECK_FALSE(copied_by_default("", name));
  }
}

TEST_CASE("E301, E302 and W113 say what a rule covers in this model") {
  Selector nothing = selector("nothing", {"moe.expert.*"}, {"a.b"});
  Selector maybe = selector("maybe", {"moe.expert.*"});
  maybe.optional = {true, {}};
  Selector counted = selector("counted", {"attn.*"});
  counted.expect = Expect{3, {"q.toml", 7, 10}};
  Selector all = selector("all", {"mlp.*"}, {}, "0");
  all.expect = Expect{{}, {"q.toml", 8, 10}};
  const auto found = RuleSet({&nothing, &maybe, &counted, &all}, 2).check(kModel);
  REQUIRE(found.size() == 4);
  CHECK(format(found[0]) ==
        "q.toml:5:1: error[E301]: rule 'nothing' (role moe.expert.*, name a.b) matches nothing in "
        "this "
        "model; correct it, or write optional = true");
  CHECK(
      format(found[1]) ==
      "q.toml:5:1: warning[W113]: rule 'maybe' (role moe.expert.*) matches nothing in this model");
  CHECK(format(found[2]) ==
        "q.toml:7:10: error[E302]: rule 'counted' covers 2 tensors, expected 3 (first: "
        "model.layers.0.self_attn.q_proj.weight, model.layers.1.self_attn.q_proj.weight); correct "
        "the "
        "rule or its expect");
  CHECK(format(found[3]) ==
        "q.toml:8:10: error[E302]: rule 'all' expects all tensors of its roles but leaves out "
        "model.layers.1.mlp.up_proj.weight; widen name and layers, or correct expect");
}

TEST_CASE("a rule that holds its promise says nothing, also when a later rule decides") {
  Selector counted = selector("counted", {"attn.*"});
  counted.expect = Expect{2, {}};
  Selector all = selector("all", {"attn.*", "mlp.*"});
  all.expect = Expect{{}, {}};
  CHECK(RuleSet({&counted, &all}, 2).check(kModel).empty());
}

}  // namespace mopt
