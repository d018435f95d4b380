#include "host/pipeline/verify_files.hpp"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "mopt/python_json.hpp"

namespace mopt::pipeline {
namespace {

using Json = nlohmann::json;

constexpr std::array kSideFiles{"tokenizer.json",
                                "tokenizer_config.json",
                                "generation_config.json",
                                "special_tokens_map.json",
                                "chat_template.jinja",
                                "vocab.json",
                                "merges.txt"};
// Any of them holds a vocabulary.
constexpr std::array kVocabularies{"tokenizer.json", "tokenizer.model", "vocab.json",
                                   "vocab.txt",      "spiece.model",    "tekken.json"};
constexpr const char* kIndex = "model.safetensors.index.json";

// Of a directory without reading the text, which may be large.
bool has_document(const Container& container, const char* name) {
  std::error_code failed;
  if (std::filesystem::is_directory(container.path(), failed))
    return std::filesystem::exists(container.path() / name, failed);
  return !container.document(name).empty();
}

class Files {
 public:
  explicit Files(const FileCheck& check) : check_(check) {}

  std::vector<Diagnostic> run() {
    side_files();
    vocabulary();
    const Json config = parse("config.json", document("config.json"));
    if (check_.depth == Depth::kFull) tokenizer(config);
    if (config.is_object()) {
      same_config(config);
      prefix(config);
    }
    if (check_.depth == Depth::kFull) index();
    return std::move(out_);
  }

 private:
  void add(const char* code, const std::string& file, std::string message, std::string remedy,
           Severity severity = Severity::kError) {
    Diagnostic d;
    d.code = code;
    d.file = (check_.container.path() / file).string();
    d.message = std::move(message);
    d.remedy = std::move(remedy);
    d.severity = severity;
    out_.push_back(std::move(d));
  }
  bool there(const char* name) const {
    return check_.pending.contains(name) || has_document(check_.container, name);
  }
  bool source_has(const char* name) const {
    return check_.source != nullptr && has_document(check_.source->container(), name);
  }
  std::string_view document(const std::string& name) const {
    const auto pending = check_.pending.find(name);
    return pending == check_.pending.end() ? check_.container.document(name) : pending->second;
  }
  std::string_view in_source(std::string_view name) const {
    return check_.source == nullptr ? std::string_view()
                                    : check_.source->container().document(name);
  }

  // Null when it is missing or no JSON; said in the second case.
  Json parse(const std::string& file, std::string_view text) {
    if (text.empty()) return nullptr;
    Json json = Json::parse(standard_json(text), nullptr, false);
    if (!json.is_discarded()) return json;
    add("V106", file, "expected JSON, found something else", "copy it from the source");
    return nullptr;
  }

  void side_files() {
    for (const char* name : kSideFiles) {
      if (source_has(name) && !there(name))
        add("V109", name, "the source has it, but it is missing here", "copy it from the source");
    }
  }

  // A tokenizer's settings without its vocabulary are of no use.
  void vocabulary() {
    const auto found = [&](const char* name) { return there(name); };
    if (!there("tokenizer_config.json") || std::ranges::any_of(kVocabularies, found)) return;
    const bool never =
        check_.source != nullptr && std::ranges::none_of(kVocabularies, [&](const char* name) {
          return !in_source(name).empty();
        });
    if (!never) {
      add("V109", "tokenizer.json", "tokenizer_config.json is there, but no vocabulary beside it",
          "copy tokenizer.json from the source");
    }
  }

  // Rows of the embedding; 0: not known.
  int64_t rows(const Json& config) const {
    if (check_.graph != nullptr) {
      for (const graph::Op& op : check_.graph->ops) {
        if (op.kind == graph::OpKind::kEmbedding) return check_.graph->values[op.in[1]].dims[0];
      }
    }
    const auto size = config.is_object() ? config.find("vocab_size") : config.end();
    return size != config.end() && size->is_number_integer() ? size->get<int64_t>() : 0;
  }

  static int64_t largest_id(const Json& tokenizer) {
    int64_t largest = -1;
    const Json vocab = tokenizer.value(Json::json_pointer("/model/vocab"), Json());
    if (vocab.is_array()) largest = static_cast<int64_t>(vocab.size()) - 1;
    if (vocab.is_object()) {
      for (const Json& id : vocab) {
        if (id.is_number_integer()) largest = std::max(largest, id.get<int64_t>());
      }
    }
    for (const Json& token : tokenizer.value("added_tokens", Json::array())) {
      const auto id = token.is_object() ? token.find("id") : token.end();
      if (id != token.end() && id->is_number_integer())
        largest = std::max(largest, id->get<int64_t>());
    }
    return largest;
  }

  void tokenizer(const Json& config) {
    const std::string_view text = document("tokenizer.json");
    const Json json = parse("tokenizer.json", text);
    const int64_t embedded = rows(config);
    if (!json.is_object() || embedded == 0) return;
    const int64_t largest = largest_id(json);
    if (largest < embedded) return;
    // A source's own fault is copied with it.
    const bool copied = in_source("tokenizer.json") == text;
    add("V106", "tokenizer.json",
        "it has ids up to " + std::to_string(largest) + ", the embedding has " +
            std::to_string(embedded) + " rows",
        "use the tokenizer that belongs to the model",
        copied ? Severity::kWarning : Severity::kError);
  }

  // quantization_config apart, and a head that was untied.
  static Json comparable(Json config) {
    config.erase("quantization_config");
    config.erase("tie_word_embeddings");
    const auto text = config.find("text_config");
    if (text != config.end() && text->is_object()) text->erase("tie_word_embeddings");
    return config;
  }

  void same_config(const Json& config) {
    const Json source = parse("config.json", in_source("config.json"));
    if (!source.is_object()) return;
    const Json ours = comparable(config), theirs = comparable(source);
    std::string keys;
    int count = 0;
    const auto differs = [&](const std::string& key) {
      if (++count <= 3) keys += (keys.empty() ? "'" : ", '") + key + "'";
    };
    for (const auto& [key, value] : theirs.items()) {
      if (!ours.contains(key) || ours[key] != value) differs(key);
    }
    for (const auto& [key, value] : ours.items()) {
      if (!theirs.contains(key)) differs(key);
    }
    if (count == 0) return;
    add("V116", "config.json",
        "expected the source's settings, found others at " + keys +
            (count > 3 ? " and " + std::to_string(count - 3) + " more" : ""),
        "write the checkpoint again");
  }

  // The class of a whole language model keeps its body under a prefix; a body that was saved alone
  // has none, and is of another class.
  void prefix(const Json& config) {
    const Json names = config.value("architectures", Json::array());
    if (check_.graph == nullptr || !names.is_array() || names.empty() || !names[0].is_string())
      return;
    const auto& name = names[0].get_ref<const std::string&>();
    if (!name.ends_with("ForCausalLM") && !name.ends_with("ForConditionalGeneration")) return;
    for (const graph::Param& p : check_.graph->params) {
      if (p.role != "embed" || std::ranges::count(p.name, '.') > 1) continue;
      const bool same =
          check_.source != nullptr && check_.source->container().find(p.name) != nullptr;
      add("V106", "config.json",
          "architectures says " + name +
              ", whose tensors stand under a prefix such as model., "
              "found " +
              p.name,
          "write the checkpoint again", same ? Severity::kWarning : Severity::kError);
    }
  }

  void index() {
    const Json json = parse(kIndex, document(kIndex));
    if (!json.is_object()) return;
    uint64_t bytes = 0, unlisted = 0;
    std::string first;
    const Json map = json.value("weight_map", Json::object());
    for (const mopt::StoredTensor& t : check_.container.tensors()) {
      bytes += t.stored_bytes;
      if (map.contains(t.name)) continue;
      if (unlisted++ == 0) first = t.name;
    }
    if (unlisted > 0) {
      add("V111", kIndex,
          std::to_string(unlisted) + " tensors of its files are not listed, the first is " + first,
          "write the checkpoint again");
    }
    const Json total = json.value(Json::json_pointer("/metadata/total_size"), Json());
    if (total.is_number_unsigned() && total.get<uint64_t>() != bytes) {
      add("V111", kIndex,
          "total_size says " + std::to_string(total.get<uint64_t>()) + " bytes, the tensors have " +
              std::to_string(bytes),
          "write the checkpoint again", Severity::kWarning);
    }
  }

  const FileCheck& check_;
  std::vector<Diagnostic> out_;
};

}  // namespace

std::vector<Diagnostic> check_files(const FileCheck& check) {
  return Files(check).run();
}

}  // namespace mopt::pipeline
