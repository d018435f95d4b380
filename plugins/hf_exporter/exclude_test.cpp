#include "exclude.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using mopt::hf::collapse;
using Names = std::vector<std::string>;

// The four cases of quant-formats 9.4 were executed with upstream.
TEST_CASE("attention left out of two layers collapses to one pattern each") {
  Names unquantized{"lm_head", "model.embed_tokens"}, quantized;
  for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
    for (const std::string name : {"q", "k", "v", "o"}) {
      unquantized.push_back(layer + "self_attn." + name + "_proj");
    }
    for (const std::string name : {"gate", "up", "down"}) {
      quantized.push_back(layer + "mlp." + name + "_proj");
    }
  }
  CHECK(collapse({unquantized.begin(), unquantized.end()}, {quantized.begin(), quantized.end()}) ==
        Names{"lm_head", "model.embed_tokens", "model.layers.0.self_attn*",
              "model.layers.1.self_attn*"});
}

TEST_CASE("a whole vision tower collapses to one pattern") {
  CHECK(collapse({"lm_head", "model.visual.blocks.0.attn.qkv", "model.visual.merger.fc",
                  "model.language_model.embed_tokens"},
                 {"model.language_model.layers.0.mlp.up_proj"}) ==
        Names{"lm_head", "model.language_model.embed_tokens", "model.visual*"});
}

TEST_CASE("a pattern for layer 1 does not hit a quantized layer 10") {
  CHECK(collapse({"lm_head", "model.layers.1.mlp.up_proj", "model.layers.1.self_attn.q_proj"},
                 {"model.layers.10.mlp.up_proj", "model.layers.0.mlp.up_proj"}) ==
        Names{"lm_head", "model.layers.1.*"});
}

TEST_CASE("a router beside a quantized gate_proj keeps its exact name") {
  CHECK(collapse({"model.layers.0.mlp.gate", "model.layers.0.mlp.gate.sub"},
                 {"model.layers.0.mlp.gate_proj"}) ==
        Names{"model.layers.0.mlp.gate", "model.layers.0.mlp.gate.*"});
}

TEST_CASE("no pattern matches a quantized name, and every unquantized name is matched") {
  const auto matches = [](const std::string& pattern, const std::string& name) {
    return pattern.ends_with('*') ? name.starts_with(pattern.substr(0, pattern.size() - 1))
                                  : name == pattern;
  };
  // All ways of quantizing a part of a small tree whose names are prefixes of each other.
  const Names tree{"a", "a.b", "a.b.c", "a.bc", "a.bc.d", "a.bc.dd", "ab", "ab.c"};
  for (unsigned chosen = 0; chosen < 1u << tree.size(); ++chosen) {
    Names unquantized, quantized;
    for (size_t i = 0; i < tree.size(); ++i) {
      (chosen >> i & 1 ? quantized : unquantized).push_back(tree[i]);
    }
    const Names patterns =
        collapse({unquantized.begin(), unquantized.end()}, {quantized.begin(), quantized.end()});
    for (const std::string& pattern : patterns) {
      for (const std::string& name : quantized) {
        CAPTURE(pattern);
        CHECK_FALSE(matches(pattern, name));
      }
    }
    for (const std::string& name : unquantized) {
      bool found = false;
      for (const std::string& pattern : patterns)
        found = found || matches(pattern, name);
      CAPTURE(name);
      CHECK(found);
    }
  }
}
