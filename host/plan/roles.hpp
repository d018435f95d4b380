// What a tensor is for, from its name alone: used when no adapter describes the model.
#pragma once

#include <string>
#include <string_view>

namespace mopt::plan {

// "model.layers.3.mlp.up_proj.weight" -> "mlp.up"; "" when the name says nothing.
std::string role_from_name(std::string_view tensor);

// Parameters that engines merge share this: "model.layers.3.self_attn.qkv". Empty for others.
std::string fuse_group_from_name(std::string_view tensor, std::string_view role);

// The index of the layer that a tensor belongs to, -1: none. The first number of its name.
int layer_from_name(std::string_view tensor);

}  // namespace mopt::plan
