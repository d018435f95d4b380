#include "host/plan/roles.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace mopt::plan {
namespace {

struct NameRole {
  std::string_view module, role;
};

// Names that decoders on the hub use. Inside of experts "mlp." becomes "moe.expert.".
constexpr std::array kModules{NameRole{"query", "attn.q"},
                              NameRole{"key", "attn.k"},
                              NameRole{"value", "attn.v"},
                              NameRole{"q_proj", "attn.q"},
                              NameRole{"k_proj", "attn.k"},
                              NameRole{"v_proj", "attn.v"},
                              NameRole{"o_proj", "attn.o"},
                              NameRole{"out_proj", "attn.o"},
                              NameRole{"qkv_proj", "attn.qkv"},
                              NameRole{"query_key_value", "attn.qkv"},
                              NameRole{"kv_a_proj_with_mqa", "attn.kv_down"},
                              NameRole{"kv_b_proj", "attn.kv_up"},
                              NameRole{"q_a_proj", "attn.q_down"},
                              NameRole{"q_b_proj", "attn.q_up"},
                              NameRole{"gate_proj", "mlp.gate"},
                              NameRole{"up_proj", "mlp.up"},
                              NameRole{"down_proj", "mlp.down"},
                              NameRole{"gate_up_proj", "mlp.gate"},
                              NameRole{"fc1", "mlp.up"},
                              NameRole{"fc2", "mlp.down"},
                              NameRole{"w1", "mlp.gate"},
                              NameRole{"w2", "mlp.down"},
                              NameRole{"w3", "mlp.up"},
                              NameRole{"embed_tokens", "embed"},
                              NameRole{"wte", "embed"},
                              NameRole{"word_embeddings", "embed"},
                              NameRole{"lm_head", "lm_head"},
                              NameRole{"router", "moe.router"},
                              NameRole{"gate", "moe.router"}};

bool is_number(std::string_view s) {
  return !s.empty() && std::all_of(s.begin(), s.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// Calls fn with each part between dots until it returns true; whether it did.
template <class Fn>
bool any_segment(std::string_view name, Fn fn) {
  for (;;) {
    const size_t dot = name.find('.');
    if (fn(name.substr(0, dot))) return true;
    if (dot == std::string_view::npos) return false;
    name.remove_prefix(dot + 1);
  }
}

bool has(std::string_view name, std::string_view segment) {
  return any_segment(name, [&](std::string_view s) { return s == segment; });
}

std::string_view last_segment(std::string_view name) {
  return name.substr(name.rfind('.') + 1);  // npos + 1 is 0: there is no dot
}

}  // namespace

std::string role_from_name(std::string_view tensor) {
  const std::string_view last = last_segment(tensor);
  if (last.size() == tensor.size() || last != "weight") return last == "bias" ? "bias" : "";
  const std::string_view path = tensor.substr(0, tensor.size() - last.size() - 1);
  const std::string_view module = last_segment(path);
  if (module.find("norm") != std::string_view::npos || module.starts_with("ln_")) return "norm";
  const auto row = std::ranges::find(kModules, module, &NameRole::module);
  if (row == kModules.end()) return "";
  std::string role(row->role);
  if (!role.starts_with("mlp.")) return role;
  if (has(path, "experts")) return "moe.expert." + role.substr(4);
  if (has(path, "shared_expert") || has(path, "shared_experts"))
    return "moe.shared." + role.substr(4);
  return role;
}

std::string fuse_group_from_name(std::string_view tensor, std::string_view role) {
  const size_t module_end = tensor.rfind('.');
  if (module_end == std::string_view::npos) return "";
  const size_t parent_end = tensor.rfind('.', module_end - 1);
  if (parent_end == std::string_view::npos) return "";
  const std::string_view parent = tensor.substr(0, parent_end);
  const std::string_view last = last_segment(role);
  if (role.starts_with("attn.") && (last == "q" || last == "k" || last == "v"))
    return std::string(parent) + ".qkv";
  const bool mlp = role.starts_with("mlp.") || role.starts_with("moe.expert.") ||
                   role.starts_with("moe.shared.");
  if (mlp && (last == "gate" || last == "up") && tensor.find("fc1") == std::string_view::npos) {
    return std::string(parent) + ".gate_up";
  }
  return "";
}

int layer_from_name(std::string_view tensor) {
  int layer = -1;
  any_segment(tensor, [&](std::string_view part) {
    if (!is_number(part) || part.size() >= 7) return false;
    std::from_chars(part.data(), part.data() + part.size(), layer);
    return true;
  });
  return layer;
}

}  // namespace mopt::plan
