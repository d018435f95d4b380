#include "description_read.hpp"

#include "mopt/python_json.hpp"

#include <algorithm>
#include <set>

namespace mopt::hf {
namespace {

const Tree* member(const Tree& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto at = object.find(key);
  return at == object.end() || at->is_null() ? nullptr : &*at;
}

Tree parse(const Checkpoint& checkpoint, std::string_view file) {
  const std::string_view text = checkpoint.document(file);
  if (text.empty()) return nullptr;
  Tree json = Tree::parse(standard_json(text), nullptr, false);
  if (json.is_object()) return json;
  throw Error(MOPT_DATA_LOSS,
              std::string(file) + " is not a JSON object (cut off?); fetch it again",
              std::string(file));
}

// "FP8" of {"num_bits": 8, "type": "float"}, "NVFP4" of its 4-bit form; a string stands for itself.
std::optional<std::string> kv_name(const Tree* value) {
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return value->get<std::string>();
  const Tree* bits = member(*value, "num_bits");
  return bits != nullptr && *bits == 8 ? "FP8" : "NVFP4";
}

// group_size, also where only config_groups has it.
const Tree* group_size(const Tree& q) {
  if (const Tree* size = member(q, "group_size")) return size;
  const Tree* groups = member(q, "config_groups");
  if (groups == nullptr || !groups->is_object() || groups->size() != 1) return nullptr;
  const Tree* weights = member(groups->front(), "weights");
  return weights == nullptr ? nullptr : member(*weights, "group_size");
}

// Both spellings: `q` is "quantization" of hf_quant_config.json or quantization_config of
// config.json.
Said parse_said(const Tree& q, std::string_view file) {
  Said out;
  out.file = file;
  const Tree* algorithm = member(q, "quant_algo");
  const Tree* layers = member(q, "quantized_layers");
  if (algorithm != nullptr && upper(algorithm->get<std::string>()) == "MIXED_PRECISION") {
    out.layers =
        layers != nullptr ? Tree(layers->get_ref<const Tree::object_t&>()) : Tree::object();
  } else if (algorithm != nullptr) {
    out.entry = Tree{{"quant_algo", *algorithm}};
    if (const Tree* size = group_size(q)) out.entry["group_size"] = *size;
    for (const char* key : {"weight_only", "mopt_scheme"}) {
      if (const Tree* value = member(q, key)) out.entry[key] = *value;
    }
  }
  const Tree* exclude = member(q, "exclude_modules");
  if (exclude == nullptr) exclude = member(q, "ignore");
  if (exclude != nullptr) out.exclude = exclude->get<std::vector<std::string>>();
  const Tree* kv = member(q, "kv_cache_quant_algo");
  out.kv = kv_name(kv != nullptr ? kv : member(q, "kv_cache_scheme"));
  return out;
}

Said said(const Tree& q, std::string_view file) {
  try {
    return parse_said(q, file);
  } catch (const Tree::exception& e) {
    throw Error(MOPT_DATA_LOSS,
                std::string(file) + ": the quantization has a member of the wrong type (" +
                    e.what() + "); export the model again",
                std::string(file));
  }
}

Problem contradiction(const std::string& message, std::string_view file = kConfigFile) {
  return {"V106", std::string(file), "", message,
          "make config.json and hf_quant_config.json say the same, or export the model again"};
}

std::string name_of(const Said& s) {
  if (!s.layers.is_null()) return "MIXED_PRECISION";
  return s.entry.is_null() ? "none" : s.entry["quant_algo"].get<std::string>();
}

void compare_excludes(const Said& nested, const Said& flat, std::vector<Problem>& problems) {
  const std::set<std::string> a(nested.exclude.begin(), nested.exclude.end()),
      b(flat.exclude.begin(), flat.exclude.end());
  std::vector<std::string> differ;
  std::ranges::set_symmetric_difference(a, b, std::back_inserter(differ));
  if (differ.empty()) return;
  problems.push_back(contradiction(
      "exclude_modules of hf_quant_config.json and ignore of config.json "
      "differ in " +
      std::to_string(differ.size()) + " entries, the first is '" + differ.front() + "'"));
}

void compare(const Said& nested, const Said& flat, std::vector<Problem>& problems) {
  if (upper(name_of(nested)) != upper(name_of(flat))) {
    problems.push_back(contradiction("hf_quant_config.json says quant_algo " + name_of(nested) +
                                     ", config.json says " + name_of(flat)));
    return;
  }
  const Tree *a = member(nested.entry, "group_size"), *b = member(flat.entry, "group_size");
  if (a != nullptr && b != nullptr && *a != *b) {
    problems.push_back(contradiction("hf_quant_config.json says group_size " + a->dump() +
                                     ", config.json says " + b->dump()));
  }
  if (nested.layers != flat.layers) {
    problems.push_back(
        contradiction("quantized_layers of hf_quant_config.json and of config.json differ"));
  }
  if (nested.kv.value_or("none") != flat.kv.value_or("none")) {
    problems.push_back(contradiction("hf_quant_config.json says the KV cache is " +
                                     nested.kv.value_or("none") + ", config.json says " +
                                     flat.kv.value_or("none")));
  }
  compare_excludes(nested, flat, problems);
}

// quant_method decides whose layout this is.
void check_method(const Tree& q, std::vector<Problem>& problems) {
  const Tree* method = member(q, "quant_method");
  if (method == nullptr) {
    problems.push_back(
        {"V106", std::string(kConfigFile), "",
         "quantization_config has no quant_method, expected \"modelopt\"; engines then "
         "take the codes for weights",
         "add \"quant_method\": \"modelopt\""});
    return;
  }
  const std::string name = method->is_string() ? method->get<std::string>() : method->dump();
  if (name.starts_with("modelopt")) return;
  throw Error(MOPT_UNSUPPORTED,
              "expected quant_method \"modelopt\" in config.json, found \"" + name +
                  "\": another layout wrote this checkpoint",
              std::string(kConfigFile));
}

void check_float_type(const Tree& config, std::vector<Problem>& problems) {
  for (const char* key : {"dtype", "torch_dtype"}) {
    const Tree* type = member(config, key);
    if (type == nullptr || !type->is_string()) continue;
    const std::string name = type->get<std::string>();
    if (name.starts_with("float8") || name.starts_with("int") || name.starts_with("uint")) {
      problems.push_back({"V106", std::string(kConfigFile), "",
                          std::string(key) + " says " + name +
                              "; it names the float type of the model, never a quantized one",
                          "write the source's type, such as bfloat16", MOPT_SEVERITY_WARNING});
    }
  }
}

bool tied_head(const Tree& config) {
  const Tree* tied = member(config, "tie_word_embeddings");
  const Tree* text = member(config, "text_config");
  if (tied == nullptr && text != nullptr) tied = member(*text, "tie_word_embeddings");
  return tied != nullptr && tied->is_boolean() && tied->get<bool>();
}

// vLLM takes hf_quant_config.json alone for FP8 variants and NVFP4 only (consumers 1.1).
void check_nested_alone(const Said& nested, std::vector<Problem>& problems) {
  const std::string name = upper(name_of(nested));
  if (name == "NVFP4" || name == "FP8" || name == "FP8_PB_WO" ||
      name == "FP8_PER_CHANNEL_PER_TOKEN") {
    return;
  }
  problems.push_back(
      {"V106", std::string(kConfigFile), "",
       "config.json has no quantization_config; vLLM reads hf_quant_config.json alone "
       "only for FP8 variants and NVFP4, found " +
           name_of(nested),
       "add quantization_config to config.json, or export the model again", MOPT_SEVERITY_WARNING});
}

// '*' and '?' as in a shell, across dots. Linear in the text for each '*': the last one is retried.
bool matches(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0, star = pattern.npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != pattern.npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == pattern.npos;
}

}  // namespace

Documents read_documents(const Checkpoint& checkpoint) {
  const Tree config = parse(checkpoint, kConfigFile), quant = parse(checkpoint, kQuantFile);
  const Tree* flat = member(config, "quantization_config");
  if (flat == nullptr && quant.is_null()) return {};
  Documents out;
  if (flat != nullptr) {
    check_method(*flat, out.problems);
    out.said = said(*flat, kConfigFile);
  }
  if (!quant.is_null()) {
    const Tree* inner = member(quant, "quantization");
    Said nested = said(inner != nullptr ? *inner : quant, kQuantFile);
    if (flat != nullptr) {
      compare(nested, *out.said, out.problems);
    } else if (!config.is_null()) {
      check_nested_alone(nested, out.problems);
    }
    out.said = std::move(nested);
  }
  check_float_type(config, out.problems);
  out.tied_head = tied_head(config);
  return out;
}

bool excluded(const std::vector<std::string>& patterns, std::string_view module) {
  return std::ranges::any_of(patterns, [&](const std::string& pattern) {
    if (pattern.find_first_of("*?") != std::string::npos) return matches(pattern, module);
    return module == pattern ||
           (module.starts_with(pattern) && module.substr(pattern.size()).starts_with('.'));
  });
}

}  // namespace mopt::hf
