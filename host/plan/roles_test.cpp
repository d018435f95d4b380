#include "host/plan/roles.hpp"

#include <doctest/doctest.h>

namespace mopt::plan {
namespace {

TEST_CASE("usual names of tensors say what they are for") {
  const struct {
    const char *name, *role;
  } rows[] = {
      {"model.embed_tokens.weight", "embed"},
      {"transformer.wte.weight", "embed"},
      {"lm_head.weight", "lm_head"},
      {"model.norm.weight", "norm"},
      {"model.layers.0.input_layernorm.weight", "norm"},
      {"transformer.h.0.ln_1.weight", "norm"},
      {"model.layers.3.self_attn.q_proj.weight", "attn.q"},
      {"model.layers.3.self_attn.q_proj.bias", "bias"},
      {"model.layers.3.self_attn.q_norm.weight", "norm"},
      {"model.layers.3.self_attn.o_proj.weight", "attn.o"},
      {"model.layers.3.mlp.gate_proj.weight", "mlp.gate"},
      {"model.layers.3.mlp.gate.weight", "moe.router"},
      {"model.layers.3.mlp.experts.17.down_proj.weight", "moe.expert.down"},
      {"model.layers.3.block_sparse_moe.experts.0.w3.weight", "moe.expert.up"},
      {"model.layers.3.mlp.shared_expert.up_proj.weight", "moe.shared.up"},
      {"model.layers.3.mamba.x_proj.weight", ""},
      {"weight", ""},
      {"", ""},
      {"..", ""},
  };
  for (const auto& row : rows) {
    CAPTURE(row.name);
    CHECK(role_from_name(row.name) == row.role);
  }
}

TEST_CASE("what engines merge shares a group, and only that") {
  const auto group = [](const std::string& name) {
    return fuse_group_from_name(name, role_from_name(name));
  };
  const std::string attention = "model.layers.3.self_attn.";
  CHECK(group(attention + "q_proj.weight") == attention + "qkv");
  CHECK(group(attention + "q_proj.weight") == group(attention + "v_proj.weight"));
  CHECK(group(attention + "o_proj.weight").empty());
  CHECK(group(attention + "q_proj.bias").empty());
  const std::string expert = "model.layers.3.mlp.experts.1.";
  CHECK(group(expert + "gate_proj.weight") == expert + "gate_up");
  CHECK(group(expert + "up_proj.weight") == expert + "gate_up");
  CHECK(group(expert + "down_proj.weight").empty());
  CHECK(group("model.layers.0.mlp.experts.1.gate_proj.weight") !=
        group("model.layers.0.mlp.experts.10.gate_proj.weight"));
  CHECK(group("model.layers.0.mlp.fc1.weight").empty());
  CHECK(group("lm_head.weight").empty());
  CHECK(group("weight").empty());
}

TEST_CASE("the layer is the first number of a name") {
  CHECK(layer_from_name("model.layers.12.mlp.experts.3.w1.weight") == 12);
  CHECK(layer_from_name("transformer.h.0.ln_1.weight") == 0);
  CHECK(layer_from_name("lm_head.weight") == -1);
  CHECK(layer_from_name("model.layers.99999999999999999999.w") == -1);
  CHECK(layer_from_name("model.layer7.w") == -1);
}

}  // namespace
}  // namespace mopt::plan
