#include "tokenizer.hpp"

#include <array>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "json.hpp"
#include "mopt/error.hpp"

namespace mopt::gguf {
namespace {

using Json = nlohmann::ordered_json;

enum TokenType {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

// How text is cut into words before byte-pair merging.
enum class Split { kGpt2, kDigits, kRegex };
struct PreTokenizer {
  std::string_view name;  // tokenizer.ggml.pre
  Split split;
  std::string_view regex;  // Split::kRegex
  bool nfc, ignore_merges, adds_bos;
};

constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// The same with every digit alone.
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr PreTokenizer kPreTokenizers[] = {
    {"gpt-2", Split::kGpt2, {}, false, false, false},
    {"default", Split::kGpt2, {}, false, false, false},
    {"smollm", Split::kDigits, {}, false, false, false},
    {"llama-bpe", Split::kRegex, kLlama3, false, true, true},
    {"qwen2", Split::kRegex, kQwen2, true, false, false},
};

[[noreturn]] void refuse(const Metadata& metadata, const std::string& sentence) {
  throw Error(MOPT_UNSUPPORTED,
              metadata.file() + ": " + sentence + "; use the tokenizer of the original checkpoint",
              metadata.file());
}

const PreTokenizer& pre_tokenizer(const Metadata& metadata) {
  const std::string_view name = metadata.text("tokenizer.ggml.pre").value_or("default");
  for (const PreTokenizer& row : kPreTokenizers) {
    if (row.name == name) return row;
  }
  refuse(metadata,
         "expected 'tokenizer.ggml.pre' gpt-2, default, smollm, llama-bpe or qwen2, found " +
             in_quotes(name));
}

// The tokens with their types, checked.
struct Vocabulary {
  std::vector<std::string_view> tokens;  // by id
  std::vector<int64_t> types;
  std::unordered_set<std::string_view> known;
};

Vocabulary read_vocabulary(const Metadata& metadata) {
  Vocabulary out{
      metadata.texts("tokenizer.ggml.tokens"), metadata.integers("tokenizer.ggml.token_type"), {}};
  if (out.tokens.empty()) refuse(metadata, "expected 'tokenizer.ggml.tokens', found none");
  if (out.types.empty()) out.types.assign(out.tokens.size(), kNormal);
  if (out.types.size() != out.tokens.size()) {
    refuse(metadata, "expected a type for each of " + std::to_string(out.tokens.size()) +
                         " tokens, found " + std::to_string(out.types.size()));
  }
  for (const std::string_view token : out.tokens) {
    if (!out.known.insert(token).second) {
      refuse(metadata, "expected every token once, found " + in_quotes(token) + " twice");
    }
  }
  return out;
}

Json byte_level(bool use_regex, bool add_prefix_space) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", add_prefix_space},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

Json pre_tokenizer_json(const PreTokenizer& pre) {
  if (pre.split == Split::kGpt2) return byte_level(true, false);
  const bool digits = pre.split == Split::kDigits;
  const Json first = digits ? Json{{"type", "Digits"}, {"individual_digits", true}}
                            : Json{{"type", "Split"},
                                   {"pattern", {{"Regex", std::string(pre.regex)}}},
                                   {"behavior", "Isolated"},
                                   {"invert", false}};
  Json parts = Json::array();
  parts.push_back(first);
  parts.push_back(byte_level(digits, false));
  return {{"type", "Sequence"}, {"pretokenizers", parts}};
}

std::string_view token_of(const Metadata& metadata, const Vocabulary& vocabulary, const char* key) {
  const auto id = metadata.integer(key);
  if (!id) return {};
  if (*id < 0 || static_cast<uint64_t>(*id) >= vocabulary.tokens.size()) {
    refuse(metadata, std::string("expected '") + key + "' below " +
                         std::to_string(vocabulary.tokens.size()) + ", found " +
                         std::to_string(*id));
  }
  return vocabulary.tokens[static_cast<size_t>(*id)];
}

bool adds(const Metadata& metadata, const char* key, bool otherwise) {
  return metadata.flag(key).value_or(otherwise);
}

// Puts BOS before and EOS after the text, as the file asks for.
Json post_processor(const Metadata& metadata, const Vocabulary& vocabulary,
                    const PreTokenizer& pre) {
  struct Special {
    std::string text;
    int64_t id;
  };
  std::vector<Special> before, after;
  const auto collect = [&](const char* flag, const char* key, bool otherwise,
                           std::vector<Special>& to) {
    if (!adds(metadata, flag, otherwise)) return;
    const std::string_view token = token_of(metadata, vocabulary, key);
    if (token.data() == nullptr) {
      refuse(metadata,
             std::string("expected '") + key + "' because '" + flag + "' is set, found none");
    }
    to.push_back({std::string(token), *metadata.integer(key)});
  };
  collect("tokenizer.ggml.add_bos_token", "tokenizer.ggml.bos_token_id", pre.adds_bos, before);
  collect("tokenizer.ggml.add_eos_token", "tokenizer.ggml.eos_token_id", false, after);
  if (before.empty() && after.empty()) return nullptr;

  Json special = Json::object();
  const auto add = [&](const std::vector<Special>& tokens, int type_id, Json& to) {
    for (const Special& token : tokens) {
      to.push_back({{"SpecialToken", {{"id", token.text}, {"type_id", type_id}}}});
      special[token.text] = {{"id", token.text}, {"ids", {token.id}}, {"tokens", {token.text}}};
    }
  };
  const auto sequence = [&](const char* name, int type_id, Json& to) {
    add(before, type_id, to);
    to.push_back({{"Sequence", {{"id", name}, {"type_id", type_id}}}});
    add(after, type_id, to);
  };
  Json single = Json::array(), pair = Json::array();
  sequence("A", 0, single);
  sequence("A", 0, pair);
  sequence("B", 1, pair);
  return {{"type", "TemplateProcessing"},
          {"single", single},
          {"pair", pair},
          {"special_tokens", special}};
}

Json added_tokens(const Vocabulary& vocabulary) {
  Json out = Json::array();
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const int64_t type = vocabulary.types[id];
    if (type != kControl && type != kUserDefined) continue;
    out.push_back({{"id", id},
                   {"content", std::string(vocabulary.tokens[id])},
                   {"single_word", false},
                   {"lstrip", false},
                   {"rstrip", false},
                   {"normalized", false},
                   {"special", type == kControl}});
  }
  return out;
}

// Both parts of a merge and their union are tokens; without that no tokenizer loads the file.
Json merges_json(const Metadata& metadata, const Vocabulary& vocabulary) {
  Json out = Json::array();
  for (const std::string_view merge : metadata.texts("tokenizer.ggml.merges")) {
    const size_t space = merge.find(' ', 1);
    const std::string_view left = merge.substr(0, space);
    const std::string_view right =
        space == std::string_view::npos ? std::string_view() : merge.substr(space + 1);
    const std::string both = std::string(left) + std::string(right);
    if (right.empty() || !vocabulary.known.contains(left) || !vocabulary.known.contains(right) ||
        !vocabulary.known.contains(both)) {
      refuse(metadata, "expected merges of two tokens to a third, found " + in_quotes(merge));
    }
    out.push_back(std::string(merge));
  }
  return out;
}

Json model_json(const Metadata& metadata, const Vocabulary& vocabulary, const PreTokenizer& pre) {
  Json vocab = Json::object();
  auto& members = vocab.get_ref<Json::object_t&>();  // unique already: no search per token
  members.reserve(vocabulary.tokens.size());
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    // Unused ids pad the embedding; the text of their names is not a token.
    if (vocabulary.types[id] == kUnused) continue;
    members.emplace_back(std::string(vocabulary.tokens[id]), id);
  }
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"ignore_merges", pre.ignore_merges},
          {"vocab", std::move(vocab)},
          {"merges", merges_json(metadata, vocabulary)}};
}

}  // namespace

std::string tokenizer_json(const Metadata& metadata) {
  if (const auto whole = metadata.text("tokenizer.huggingface.json")) return std::string(*whole);
  const auto kind = metadata.text("tokenizer.ggml.model");
  if (!kind) return {};
  if (*kind != "gpt2") {
    refuse(metadata,
           "expected 'tokenizer.ggml.model' gpt2 (byte-level BPE), found " + in_quotes(*kind));
  }
  const PreTokenizer& pre = pre_tokenizer(metadata);
  const Vocabulary vocabulary = read_vocabulary(metadata);
  const Json out = {{"version", "1.0"},
                    {"truncation", nullptr},
                    {"padding", nullptr},
                    {"added_tokens", added_tokens(vocabulary)},
                    {"normalizer", pre.nfc ? Json{{"type", "NFC"}} : Json(nullptr)},
                    {"pre_tokenizer", pre_tokenizer_json(pre)},
                    {"post_processor", post_processor(metadata, vocabulary, pre)},
                    {"decoder", byte_level(true, true)},
                    {"model", model_json(metadata, vocabulary, pre)}};
  return json_text(metadata, out, -1);
}

std::string tokenizer_config_json(const Metadata& metadata, const std::string& arch) {
  if (metadata.find("tokenizer.ggml.tokens") == nullptr) return {};
  const Vocabulary vocabulary = read_vocabulary(metadata);
  const bool gpt2 = metadata.text("tokenizer.ggml.model") == "gpt2";
  Json out = {{"add_bos_token", adds(metadata, "tokenizer.ggml.add_bos_token",
                                     gpt2 && pre_tokenizer(metadata).adds_bos)},
              {"add_eos_token", adds(metadata, "tokenizer.ggml.add_eos_token", false)}};
  constexpr std::array kTokens = {std::pair{"bos_token", "tokenizer.ggml.bos_token_id"},
                                  std::pair{"eos_token", "tokenizer.ggml.eos_token_id"},
                                  std::pair{"unk_token", "tokenizer.ggml.unknown_token_id"},
                                  std::pair{"pad_token", "tokenizer.ggml.padding_token_id"}};
  for (const auto& [name, key] : kTokens) {
    const std::string_view token = token_of(metadata, vocabulary, key);
    if (token.data() != nullptr) out[name] = std::string(token);
  }
  if (const auto chat = metadata.text("tokenizer.chat_template"))
    out["chat_template"] = std::string(*chat);
  out["clean_up_tokenization_spaces"] = false;
  if (const auto context = metadata.integer(arch + ".context_length"))
    out["model_max_length"] = *context;
  out["tokenizer_class"] = "PreTrainedTokenizerFast";
  return json_text(metadata, out, 2);
}

}  // namespace mopt::gguf
