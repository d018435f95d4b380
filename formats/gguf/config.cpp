#include <cmath>
#include <nlohmann/json.hpp>

#include "json.hpp"
#include "model.hpp"
#include "mopt/error.hpp"

namespace mopt::gguf {
namespace {

using Json = nlohmann::ordered_json;

[[noreturn]] void refuse(const Metadata& metadata, const std::string& sentence) {
  throw Error(MOPT_UNSUPPORTED, metadata.file() + ": " + sentence, metadata.file());
}

// The keys of one architecture: "llama.block_count" by "block_count".
class Keys {
 public:
  Keys(const Metadata& metadata, const std::string& arch)
      : metadata_(metadata), prefix_(arch + ".") {}

  // A per-layer array counts when all layers agree.
  std::optional<int64_t> integer(const std::string& key) const {
    const Value* value = metadata_.find(prefix_ + key);
    if (value == nullptr || value->type != ValueType::kArray)
      return metadata_.integer(prefix_ + key);
    const std::vector<int64_t> all = metadata_.integers(prefix_ + key);
    for (const int64_t one : all) {
      if (one == all.front()) continue;
      refuse(metadata_, "expected the same '" + prefix_ + key +
                            "' in every layer, found several; use the original checkpoint");
    }
    if (all.empty()) return {};
    return all.front();
  }
  int64_t positive(const std::string& key) const {
    const int64_t value = integer(key).value_or(0);
    if (value > 0) return value;
    refuse(metadata_, "expected a positive '" + prefix_ + key + "', found " +
                          std::to_string(value) + "; use the original checkpoint");
  }
  std::optional<double> number(const std::string& key) const {
    return metadata_.number(prefix_ + key);
  }
  std::optional<std::string_view> text(const std::string& key) const {
    return metadata_.text(prefix_ + key);
  }

 private:
  const Metadata& metadata_;
  std::string prefix_;
};

void add_token_ids(const Metadata& metadata, Json& out) {
  constexpr const char* kIds[][2] = {{"bos_token_id", "tokenizer.ggml.bos_token_id"},
                                     {"eos_token_id", "tokenizer.ggml.eos_token_id"},
                                     {"pad_token_id", "tokenizer.ggml.padding_token_id"}};
  for (const auto& [name, key] : kIds) {
    if (const auto id = metadata.integer(key)) out[name] = *id;
  }
}

Json rope_scaling(const Metadata& metadata, const Keys& keys, const TensorFacts& facts) {
  const std::optional<int64_t> original = keys.integer("rope.scaling.original_context_length");
  if (!facts.rope_factors.empty()) {
    const auto fit = fit_llama3(facts.rope_factors,
                                keys.number("rope.freq_base").value_or(kDefaultTheta), original);
    if (!fit) {
      refuse(metadata,
             "expected the factors of 'rope_freqs.weight' to follow llama3's scaling, "
             "found others; use the original checkpoint");
    }
    return {{"factor", fit->factor},
            {"high_freq_factor", fit->high_freq_factor},
            {"low_freq_factor", fit->low_freq_factor},
            {"original_max_position_embeddings", fit->original_context},
            {"rope_type", "llama3"}};
  }
  const std::string_view type = keys.text("rope.scaling.type").value_or("none");
  if (type == "none") return nullptr;
  if (type != "linear" && type != "yarn") {
    refuse(metadata, "expected rope scaling none, linear or yarn, found " + in_quotes(type) +
                         "; use the original checkpoint");
  }
  const auto factor = keys.number("rope.scaling.factor");
  if (!factor)
    refuse(metadata, "expected 'rope.scaling.factor', found none; use the original checkpoint");
  Json out = {{"factor", *factor}};
  if (type == "yarn" && original) out["original_max_position_embeddings"] = *original;
  if (const auto attention = keys.number("rope.scaling.attn_factor"))
    out["attention_factor"] = *attention;
  out["rope_type"] = std::string(type);
  return out;
}

std::string class_name(const std::string& arch) {
  if (arch == "llama") return "LlamaForCausalLM";
  return arch == "qwen2" ? "Qwen2ForCausalLM" : "Qwen3ForCausalLM";
}

// Biases are fixed in qwen2 and a setting elsewhere.
void add_biases(const Metadata& metadata, const std::string& arch, const TensorFacts& facts,
                Json& out) {
  const bool qwen2 = arch == "qwen2";
  if (facts.has_qkv_bias != (qwen2 || facts.has_o_bias) || (qwen2 && facts.has_o_bias)) {
    refuse(metadata, std::string("expected biases on ") +
                         (qwen2 ? "q, k and v" : "all of q, k, v and o, or on none") +
                         ", found another set; use the original checkpoint");
  }
  if (facts.has_mlp_bias && arch != "llama") {
    refuse(metadata,
           "expected no bias in the MLP of " + arch + ", found one; use the original checkpoint");
  }
  if (!qwen2) out["attention_bias"] = facts.has_qkv_bias;
  out["attention_dropout"] = 0.0;
  if (arch == "llama") out["mlp_bias"] = facts.has_mlp_bias;
}

}  // namespace

std::optional<Llama3Rope> fit_llama3(std::span<const float> factors, double theta,
                                     std::optional<int64_t> original_context) {
  if (factors.empty()) return {};
  const double factor = Metadata::shortest(*std::max_element(factors.begin(), factors.end()));
  const Llama3Rope rope{factor, 1.0, 4.0, original_context.value_or(8192)};
  for (size_t i = 0; i < factors.size(); ++i) {
    const double frequency =
        std::pow(theta, -static_cast<double>(i) / static_cast<double>(factors.size()));
    const double turns = static_cast<double>(rope.original_context) * frequency / (2 * M_PI);
    const double smooth = std::clamp(
        (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor), 0.0, 1.0);
    const double expected = 1 / ((1 - smooth) / factor + smooth);
    if (!(std::fabs(static_cast<double>(factors[i]) - expected) <= 1e-4 * expected)) return {};
  }
  return rope;
}

std::string config_json(const Metadata& metadata, const Model& model, const TensorFacts& facts) {
  if (!model.translated()) {
    refuse(metadata,
           "expected architecture llama, qwen2 or qwen3 without experts for a "
           "config.json, found " +
               in_quotes(model.arch()) + "; use the original checkpoint");
  }
  if (facts.vocabulary == 0) {
    refuse(metadata,
           "expected the tensor 'token_embd.weight', found none; use the original checkpoint");
  }
  const Keys keys(metadata, model.arch());
  const int64_t hidden = keys.positive("embedding_length");
  const int64_t heads = keys.positive("attention.head_count");
  Json out = {{"architectures", {class_name(model.arch())}}};
  add_biases(metadata, model.arch(), facts, out);
  add_token_ids(metadata, out);
  out["head_dim"] = keys.integer("attention.key_length").value_or(hidden / heads);
  out["hidden_act"] = "silu";
  out["hidden_size"] = hidden;
  out["initializer_range"] = 0.02;
  out["intermediate_size"] = keys.positive("feed_forward_length");
  out["max_position_embeddings"] = keys.positive("context_length");
  out["model_type"] = model.arch();
  out["num_attention_heads"] = heads;
  out["num_hidden_layers"] = keys.positive("block_count");
  out["num_key_value_heads"] = keys.integer("attention.head_count_kv").value_or(heads);
  const auto epsilon = keys.number("attention.layer_norm_rms_epsilon");
  if (!epsilon) {
    refuse(metadata,
           "expected '" + model.arch() +
               ".attention.layer_norm_rms_epsilon', found none; use the original checkpoint");
  }
  out["rms_norm_eps"] = *epsilon;
  out["rope_scaling"] = rope_scaling(metadata, keys, facts);
  out["rope_theta"] = keys.number("rope.freq_base").value_or(kDefaultTheta);
  out["tie_word_embeddings"] = !facts.has_output;
  out["torch_dtype"] = same(facts.dtype, kBf16)  ? "bfloat16"
                       : same(facts.dtype, kF16) ? "float16"
                                                 : "float32";
  out["use_cache"] = true;
  out["vocab_size"] = facts.vocabulary;
  return json_text(metadata, out, 2);
}

std::string generation_config_json(const Metadata& metadata) {
  Json out = Json::object();
  add_token_ids(metadata, out);
  const auto turn = metadata.integer("tokenizer.ggml.eot_token_id");
  if (turn && out.contains("eos_token_id") && out["eos_token_id"] != *turn) {
    out["eos_token_id"] = {out["eos_token_id"].get<int64_t>(), *turn};
  }
  return out.empty() ? std::string() : json_text(metadata, out, 2);
}

}  // namespace mopt::gguf
