#include "metadata.hpp"

#include <algorithm>
#include <array>
#include <map>

#include "exclude.hpp"
#include "layout.hpp"
#include "mopt/python_json.hpp"

namespace mopt::hf {
namespace {

const Json kProducer{{"name", "modelopt"}, {"version", "0.47.0"}};

struct Operand {
  int bits;  // 0: the key is absent
  std::string_view type;
  bool group;  // names group_size
  bool channel;
};
struct GroupRow {
  std::string_view algorithm;
  Operand input, weight;
};
// config_groups per algorithm, quant-formats 9.2.
constexpr std::array kGroups{
    GroupRow{"FP8", {8, "float", false, false}, {8, "float", false, false}},
    GroupRow{"FP8_PER_CHANNEL_PER_TOKEN", {8, "float", false, false}, {8, "float", false, true}},
    GroupRow{"NVFP4", {4, "float", true, false}, {4, "float", true, false}},
    GroupRow{"W4A16_AWQ", {0, "", false, false}, {4, "int", true, false}},
    GroupRow{"W4A16_NVFP4", {0, "", false, false}, {4, "float", true, false}},
    GroupRow{"W8A16", {0, "", false, false}, {8, "int", false, false}},
    GroupRow{"W8A8_SQ_PER_CHANNEL", {8, "int", false, false}, {8, "int", false, true}},
    GroupRow{"W4A8_NVFP4_FP8", {8, "float", false, false}, {4, "float", true, false}},
    GroupRow{"W4A8_MXFP4_FP8", {8, "float", false, false}, {4, "float", true, false}},
    GroupRow{"MXFP8", {8, "float", true, false}, {8, "float", true, false}},
};

Json operand_entry(const Operand& operand, const Algorithm& algorithm) {
  Json entry{{"dynamic", false}, {"num_bits", operand.bits}, {"type", operand.type}};
  if (operand.channel) entry["strategy"] = "channel";
  if (operand.group) entry["group_size"] = algorithm.group_size;
  return entry;
}

Json group_entry(const Algorithm& algorithm) {
  const auto row = std::ranges::find(kGroups, algorithm.name, &GroupRow::algorithm);
  if (row == kGroups.end()) return Json{{"quant_algo", algorithm.name}};
  Json group = Json::object();
  if (row->input.bits != 0) group["input_activations"] = operand_entry(row->input, algorithm);
  group["weights"] = operand_entry(row->weight, algorithm);
  return group;
}

// Only these have config_groups when all layers agree.
bool uniform_groups(std::string_view algorithm) {
  return algorithm == "FP8" || algorithm == "NVFP4" || algorithm == "W4A16_NVFP4";
}

// One group per algorithm.
Json mixed_groups(const Description& d) {
  std::vector<std::vector<std::string_view>> modules(d.algorithms.size());
  for (const Layer& layer : d.layers)
    modules[layer.algorithm].push_back(layer.module);
  Json out = Json::object();
  for (size_t i = 0; i < d.algorithms.size(); ++i) {
    std::ranges::sort(modules[i]);
    Json group = group_entry(d.algorithms[i]);
    group["targets"] = modules[i];
    out["group_" + std::to_string(i)] = std::move(group);
  }
  return out;
}

// Appended: the library's operator[] would walk all members before each new one.
Json quantized_layers(const Description& d) {
  std::vector<Json> entries;
  for (const Algorithm& algorithm : d.algorithms)
    entries.push_back(layer_entry(algorithm));
  Json out = Json::object();
  auto& members = out.get_ref<Json::object_t&>();
  members.reserve(d.layers.size());
  for (const Layer& layer : d.layers)
    members.emplace_back(std::string(layer.module), entries[layer.algorithm]);
  return out;
}

const Json* find(const Json& object, const char* key) {
  const auto at = object.find(key);
  return at == object.end() || at->is_null() ? nullptr : &*at;
}

// A setting of the language model: at the top, or in the text part of an image-text model.
const Json* setting(const Json& config, const char* key) {
  if (!config.is_object()) return nullptr;
  if (const Json* value = find(config, key)) return value;
  const Json* text = find(config, "text_config");
  return text != nullptr && text->is_object() ? find(*text, key) : nullptr;
}

// Whether lm_head shares the embedding. transformers leaves the key out where it has the class's
// default, so that a head that is not stored is then a tied one.
bool tied_head(const Json& config) {
  if (const Json* tied = setting(config, "tie_word_embeddings")) {
    return tied->is_boolean() && tied->get<bool>();
  }
  const Json* classes = setting(config, "architectures");
  return classes != nullptr &&
         (classes->dump().find("ForCausalLM") != std::string::npos ||
          classes->dump().find("ForConditionalGeneration") != std::string::npos);
}

// Gemma 3's embedding multiplies by sqrt(C) in a class of its own, which upstream does not list.
bool embedding_listed(const Json& config) {
  const Json* type = setting(config, "model_type");
  return type == nullptr || !type->is_string() ||
         !type->get_ref<const std::string&>().starts_with("gemma3");
}

bool is_head(std::string_view module) {
  return module == "lm_head" || module.ends_with(".lm_head");
}

std::vector<std::string_view> unquantized_modules(const mopt_export& job, const Json& config) {
  std::vector<std::string_view> names;
  const bool embeddings = embedding_listed(config);
  bool head = false;
  for (const mopt_param& param : std::span(job.params, job.n_params)) {
    const std::string_view module = module_of(view(param.name));
    head = head || is_head(module);
    if (module.empty() || param.weight != nullptr) continue;
    const bool embedding = param.kind == MOPT_PARAM_EMBEDDING && embeddings;
    if (param.kind == MOPT_PARAM_LINEAR || embedding) names.emplace_back(module);
  }
  if (!head && tied_head(config)) names.emplace_back("lm_head");
  return names;
}

Json kv_scheme(const std::string& algorithm) {
  if (algorithm != "FP8") return algorithm;
  return Json{{"dynamic", false}, {"num_bits", 8}, {"type", "float"}};
}

// Numbers the pairs of schemes by their layer entries. A pair is judged when its pointers are seen
// for the first time: a job has few schemes and may have half a million parameters.
class Numbering {
 public:
  explicit Numbering(std::vector<Algorithm>& algorithms) : algorithms_(algorithms) {}

  size_t of(const mopt_scheme* weight, const mopt_scheme* input) {
    const auto [at, fresh] = known_.try_emplace({weight, input}, 0);
    if (fresh) at->second = find(algorithm(*weight, input));
    return at->second;
  }

 private:
  size_t find(Algorithm wanted) {
    const Json entry = layer_entry(wanted);
    for (size_t i = 0; i < algorithms_.size(); ++i) {
      if (layer_entry(algorithms_[i]) == entry) return i;
    }
    algorithms_.push_back(std::move(wanted));
    return algorithms_.size() - 1;
  }

  std::vector<Algorithm>& algorithms_;
  std::map<std::pair<const mopt_scheme*, const mopt_scheme*>, size_t> known_;
};

}  // namespace

std::string json_text(const Json& json, int indent) {
  return json.dump(indent);
}

Json parse_config(std::string_view text) {
  if (text.empty()) return nullptr;
  try {
    Json config = Json::parse(standard_json(text));
    if (config.is_object()) return config;
  } catch (const Json::parse_error& e) {
    throw Error(MOPT_DATA_LOSS,
                "config.json is not JSON (" + std::string(e.what()) + "); fetch it again",
                "config.json");
  }
  throw Error(MOPT_DATA_LOSS, "config.json does not hold a JSON object; fetch it again",
              "config.json");
}

Description describe(const mopt_export& job, const Json& config) {
  Description out;
  Numbering numbers(out.algorithms);
  std::vector<std::string_view> quantized;
  for (const mopt_param& param : std::span(job.params, job.n_params)) {
    if (param.weight == nullptr) continue;
    quantized.push_back(module_of(view(param.name)));
    out.layers.push_back(
        {quantized.back(), numbers.of(param.weight, param.input), param.input == nullptr});
  }
  out.exclude = collapse(unquantized_modules(job, config), std::move(quantized));
  if (job.kv != nullptr) out.kv = kv_algorithm(*job.kv);
  if (config.is_object()) {
    const Json* classes = find(config, "architectures");
    out.class_named = classes != nullptr && classes->is_array() && !classes->empty();
  }
  return out;
}

Json hf_quant_config(const Description& d) {
  Json q;
  q["quant_algo"] = nullptr;
  q["kv_cache_quant_algo"] = d.kv ? Json(*d.kv) : Json(nullptr);
  if (d.layers.empty()) {
    q["quantized_layers"] = Json::object();
  } else if (d.mixed()) {
    q["quant_algo"] = "MIXED_PRECISION";
    q["quantized_layers"] = quantized_layers(d);
  } else {
    q.update(layer_entry(d.algorithms.front()));
    q["exclude_modules"] = d.exclude;
  }
  return Json{{"producer", kProducer}, {"quantization", std::move(q)}};
}

Json quantization_config(const Description& d) {
  Json q = Json::object();
  const bool mixed = d.mixed();
  if (mixed) {
    q["config_groups"] = mixed_groups(d);
    q["quantized_layers"] = quantized_layers(d);
  } else if (!d.layers.empty() && uniform_groups(d.algorithms.front().name)) {
    Json group = group_entry(d.algorithms.front());
    group["targets"] = Json::array({"Linear"});
    q["config_groups"]["group_0"] = std::move(group);
  }
  q["ignore"] = mixed || d.layers.empty() ? Json::array() : Json(d.exclude);
  if (!d.layers.empty()) {
    const Algorithm& first = d.algorithms.front();
    q["quant_algo"] = mixed ? "MIXED_PRECISION" : first.name;
    if (!mixed && first.input_kept) q["weight_only"] = true;
    if (!mixed && !first.named) q["mopt_scheme"] = first.schemes;
  }
  if (d.kv) q["kv_cache_scheme"] = kv_scheme(*d.kv);
  q["producer"] = kProducer;
  q["quant_method"] = "modelopt";
  return q;
}

std::string config_text(const mopt_export& job, Json config, const Description& description) {
  if (job.untied_head != 0) {
    config["tie_word_embeddings"] = false;
    const auto text = config.find("text_config");
    if (text != config.end() && text->contains("tie_word_embeddings")) {
      (*text)["tie_word_embeddings"] = false;
    }
  }
  config.erase("quantization_config");
  config["quantization_config"] = quantization_config(description);
  return python_json(config.dump(4));
}

std::string generation_config_text(const Json& config) {
  Json out{{"_from_model_config", true}};
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) {
    if (const Json* id = setting(config, key)) out[key] = *id;
  }
  const bool useful = out.contains("bos_token_id") || out.contains("eos_token_id");
  return useful ? python_json(out.dump(2)) + "\n" : std::string();
}

}  // namespace mopt::hf
