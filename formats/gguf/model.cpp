#include "model.hpp"

#include <array>
#include <charconv>

#include "mopt/error.hpp"

namespace mopt::gguf {
namespace {

struct Row {
  std::string_view gguf, hf;
};

constexpr Row kGlobal[] = {
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
};
constexpr Row kLayer[] = {
    {"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},      {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"}, {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"}, {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
};

template <size_t N>
std::string_view lookup(const Row (&rows)[N], std::string_view stem) {
  for (const Row& row : rows) {
    if (row.gguf == stem) return row.hf;
  }
  return {};
}

// "blk.12.attn_q" -> 12 and "attn_q"; nothing for other names.
struct LayerName {
  size_t layer;
  std::string_view stem;
};
std::optional<LayerName> split_layer(std::string_view name) {
  if (!name.starts_with("blk.")) return {};
  name.remove_prefix(4);
  const size_t dot = name.find('.');
  if (dot == 0 || dot > 6) return {};
  LayerName out{0, name.substr(dot + 1)};
  const auto [end, error] = std::from_chars(name.data(), name.data() + dot, out.layer);
  if (error != std::errc() || end != name.data() + dot) return {};
  return out;
}

}  // namespace

int64_t stored_row(int64_t row, int64_t rows, int64_t heads) {
  const int64_t d = rows / heads, head = row / d, within = row % d;
  const int64_t half = within / (d / 2), j = within % (d / 2);
  return head * d + j * 2 + half;
}

Model::Model(const Metadata& metadata) : metadata_(metadata) {
  const auto arch = metadata.text("general.architecture");
  if (!arch) {
    throw Error(MOPT_DATA_LOSS,
                metadata.file() + ": expected the key 'general.architecture', found none; " +
                    std::string(kDamaged),
                metadata.file());
  }
  arch_ = *arch;
  constexpr std::array<std::string_view, 3> kKnown = {"llama", "qwen2", "qwen3"};
  for (const std::string_view known : kKnown)
    translated_ = translated_ || arch_ == known;
  if (metadata.integer(arch_ + ".expert_count").value_or(0) != 0) translated_ = false;
}

// A scalar, or an array with one value per layer.
int64_t Model::heads(std::string_view key, size_t layer) const {
  const std::string full = arch_ + "." + std::string(key);
  const Value* value = metadata_.find(full);
  if (value != nullptr && value->type == ValueType::kArray) {
    const std::vector<int64_t> all = metadata_.integers(full);
    if (layer < all.size()) return all[layer];
  } else if (const auto one = metadata_.integer(full)) {
    return *one;
  } else if (key == "attention.head_count_kv") {
    return heads("attention.head_count", layer);
  }
  throw Error(MOPT_DATA_LOSS,
              metadata_.file() + ": expected the number of heads of layer " +
                  std::to_string(layer) + " as " + in_quotes(full) + ", found none; " +
                  std::string(kDamaged),
              metadata_.file());
}

Presentation Model::present(const StoredTensor& tensor) const {
  Presentation out{std::string(tensor.name), RowOrder::kStored, 0};
  const size_t dot = tensor.name.rfind('.');
  if (!translated_ || dot == std::string_view::npos) return out;
  const std::string_view suffix = tensor.name.substr(dot);
  if (suffix != ".weight" && suffix != ".bias") return out;
  const std::string_view stem = tensor.name.substr(0, dot);
  const auto layer = split_layer(stem);
  const std::string_view hf = layer ? lookup(kLayer, layer->stem) : lookup(kGlobal, stem);
  if (hf.empty()) return out;
  out.name = layer ? "model.layers." + std::to_string(layer->layer) + "." : std::string();
  out.name.append(hf).append(suffix);
  if (arch_ != "llama" || !layer || (layer->stem != "attn_q" && layer->stem != "attn_k"))
    return out;
  out.order = RowOrder::kInterleaved;
  out.heads = heads(layer->stem == "attn_q" ? "attention.head_count" : "attention.head_count_kv",
                    layer->layer);
  if (out.heads <= 0 || tensor.shape[0] % out.heads != 0 || tensor.shape[0] / out.heads % 2 != 0) {
    throw Error(MOPT_DATA_LOSS,
                metadata_.file() + ": tensor " + in_quotes(tensor.name) + ": expected rows for " +
                    std::to_string(out.heads) + " heads of even size, found " +
                    std::to_string(tensor.shape[0]) + "; " + std::string(kDamaged),
                std::string(tensor.name));
  }
  return out;
}

}  // namespace mopt::gguf
