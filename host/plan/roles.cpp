#include "host/plan/roles.hpp"

#include <algorithm>
#include <array>
#include <vector>

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

std::vector<std::string_view> segments(std::string_view name) {
  std::vector<std::string_view> parts;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t dot = std::min(name.find('.', begin), name.size());
    parts.push_back(name.substr(begin, dot - begin));
    begin = dot + 1;
  }
  return parts;
}

bool is_number(std::string_view s) {
  return !s.empty() && std::all_of(s.begin(), s.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool has(const std::vector<std::string_view>& parts, std::string_view part) {
  return std::find(parts.begin(), parts.end(), part) != parts.end();
}

}  // namespace

std::string role_from_name(std::string_view tensor) {
  const auto parts = segments(tensor);
  if (parts.size() < 2 || parts.back() != "weight") return parts.back() == "bias" ? "bias" : "";
  const std::string_view module = parts[parts.size() - 2];
  if (module.find("norm") != std::string_view::npos || module.starts_with("ln_")) return "norm";
  for (const NameRole& row : kModules) {
    if (row.module != module) continue;
    std::string role(row.role);
    if (!role.starts_with("mlp.")) return role;
    if (has(parts, "experts")) return "moe.expert." + role.substr(4);
    if (has(parts, "shared_expert") || has(parts, "shared_experts"))
      return "moe.shared." + role.substr(4);
    return role;
  }
  return "";
}

std::string fuse_group_from_name(std::string_view tensor) {
  const std::string role = role_from_name(tensor);
  const size_t module_end = tensor.rfind('.');
  if (module_end == std::string_view::npos) return "";
  const size_t parent_end = tensor.rfind('.', module_end - 1);
  if (parent_end == std::string_view::npos) return "";
  const std::string parent(tensor.substr(0, parent_end));
  const std::string_view last = std::string_view(role).substr(role.rfind('.') + 1);
  if (role.starts_with("attn.") && (last == "q" || last == "k" || last == "v"))
    return parent + ".qkv";
  const bool mlp = role.starts_with("mlp.") || role.starts_with("moe.expert.") ||
                   role.starts_with("moe.shared.");
  if (mlp && (last == "gate" || last == "up") && tensor.find("fc1") == std::string_view::npos) {
    return parent + ".gate_up";
  }
  return "";
}

int layer_from_name(std::string_view tensor) {
  for (const std::string_view part : segments(tensor)) {
    if (is_number(part) && part.size() < 7) return std::stoi(std::string(part));
  }
  return -1;
}

}  // namespace mopt::plan
