// tokenizer.json to TokenizerSpec. Key names and defaults are those of the tokenizers library.
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "host/text/tokenizer_spec.hpp"
#include "host/text/unicode.hpp"
#include "mopt/error.hpp"

namespace mopt::text {
namespace {

using Json = nlohmann::json;

// The words of a byte-level tokenizer without an expression of its own.
constexpr const char* kGpt2Words =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

[[noreturn]] void damaged(const std::string& where, const std::string& expected) {
  throw Error(MOPT_DATA_LOSS,
              "expected " + expected + " at " + where +
                  ", found something else; take the file from the model's source again",
              "tokenizer.json");
}

[[noreturn]] void refuse(const std::string& part, const std::string& found,
                         const std::string& served) {
  throw Error(MOPT_UNSUPPORTED,
              "expected " + part + " of type " + served + ", found '" + found +
                  "', which is not available; use a tokenizer made of these, or give token ids "
                  "instead of text",
              "tokenizer.json");
}

const Json& member(const Json& node, const char* key, const std::string& where) {
  if (!node.is_object() || !node.contains(key)) damaged(where, std::string("a key '") + key + "'");
  return node[key];
}

std::string text_of(const Json& node, const char* key, const std::string& where) {
  const Json& value = member(node, key, where);
  if (!value.is_string()) damaged(where + "." + key, "a string");
  return value.get<std::string>();
}

std::optional<std::string> optional_text(const Json& node, const char* key,
                                         const std::string& where) {
  if (!node.contains(key) || node[key].is_null()) return std::nullopt;
  return text_of(node, key, where);
}

bool flag(const Json& node, const char* key, bool absent, const std::string& where) {
  if (!node.contains(key) || node[key].is_null()) return absent;
  if (!node[key].is_boolean()) damaged(where + "." + key, "true or false");
  return node[key].get<bool>();
}

int64_t number(const Json& value, const std::string& where) {
  if (!value.is_number_unsigned()) damaged(where, "a number of at least 0");
  const uint64_t wide = value.get<uint64_t>();
  if (wide >= static_cast<uint64_t>(std::numeric_limits<int32_t>::max())) {
    damaged(where, "a number below 2^31 - 1");
  }
  return static_cast<int64_t>(wide);
}

int32_t id_of(const Json& value, const std::string& where) {
  return static_cast<int32_t>(number(value, where));
}

std::string single_code_point(const Json& node, const char* key, const std::string& where) {
  const std::string text = text_of(node, key, where);
  if (text.empty() || code_point_size(text, 0) != text.size()) {
    damaged(where + "." + key, "one character");
  }
  return text;
}

// Calls `visit(component, type, where)` for each component, entering `Sequence`s.
template <class Visit>
void for_each_component(const Json& node, const char* list, const std::string& where, Visit visit,
                        int depth = 0) {
  if (node.is_null()) return;
  constexpr int kDeepest = 100;
  if (depth > kDeepest) damaged(where, "at most 100 nested sequences");
  const std::string type = text_of(node, "type", where);
  if (type != "Sequence") return visit(node, type, where);
  const Json& children = member(node, list, where);
  if (!children.is_array()) damaged(where + "." + list, "a list");
  for (size_t i = 0; i < children.size(); ++i) {
    for_each_component(children[i], list, where + "." + list + "[" + std::to_string(i) + "]", visit,
                       depth + 1);
  }
}

PatternSpec pattern_of(const Json& node, const std::string& where) {
  const Json& pattern = member(node, "pattern", where);
  if (pattern.is_string()) return {PatternKind::kLiteral, pattern.get<std::string>()};
  if (pattern.contains("String")) return {PatternKind::kLiteral, text_of(pattern, "String", where)};
  return {PatternKind::kRegex, text_of(pattern, "Regex", where + ".pattern")};
}

Replace replace_of(const Json& node, const std::string& where) {
  return {pattern_of(node, where), text_of(node, "content", where)};
}

std::vector<NormalizerStep> normalizer_of(const Json& node) {
  std::vector<NormalizerStep> steps;
  for_each_component(node, "normalizers", "normalizer",
                     [&](const Json& one, const std::string& type, const std::string& where) {
                       if (type == "NFC")
                         return steps.emplace_back(Normalize{UnicodeForm::kNfc}), void();
                       if (type == "NFD")
                         return steps.emplace_back(Normalize{UnicodeForm::kNfd}), void();
                       if (type == "NFKC")
                         return steps.emplace_back(Normalize{UnicodeForm::kNfkc}), void();
                       if (type == "NFKD")
                         return steps.emplace_back(Normalize{UnicodeForm::kNfkd}), void();
                       if (type == "Lowercase") return steps.emplace_back(Lowercase{}), void();
                       if (type == "Prepend") {
                         return steps.emplace_back(Prepend{text_of(one, "prepend", where)}), void();
                       }
                       if (type == "Replace")
                         return steps.emplace_back(replace_of(one, where)), void();
                       refuse("a normalizer", type,
                              "NFC, NFD, NFKC, NFKD, Lowercase, Prepend, Replace or Sequence");
                     });
  return steps;
}

Behavior behavior_of(const Json& node, const std::string& where) {
  const std::string name = text_of(node, "behavior", where);
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  damaged(where + ".behavior",
          "Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

Split split_of(const Json& node, const std::string& where) {
  return {pattern_of(node, where), behavior_of(node, where),
          flag(node, "invert", false, where) ? Invert::kYes : Invert::kNo};
}

ByteLevel byte_level_of(const Json& node, const std::string& where) {
  ByteLevel step;
  if (flag(node, "add_prefix_space", true, where)) step.prefix_space = PrefixSpace::kYes;
  if (flag(node, "use_regex", true, where)) {
    step.words = Split{{PatternKind::kRegex, kGpt2Words}, Behavior::kIsolated, Invert::kNo};
  }
  return step;
}

// Files older than prepend_scheme have only add_prefix_space.
PrependScheme prepend_scheme_of(const Json& node, const std::string& where) {
  const auto name = optional_text(node, "prepend_scheme", where);
  if (!name) {
    return flag(node, "add_prefix_space", true, where) ? PrependScheme::kAlways
                                                       : PrependScheme::kNever;
  }
  if (*name == "always") return PrependScheme::kAlways;
  if (*name == "first") return PrependScheme::kFirst;
  if (*name == "never") return PrependScheme::kNever;
  damaged(where + ".prepend_scheme", "always, first or never");
}

Metaspace metaspace_of(const Json& node, const std::string& where) {
  Metaspace step{single_code_point(node, "replacement", where), prepend_scheme_of(node, where), {}};
  if (flag(node, "split", true, where)) {
    step.words =
        Split{{PatternKind::kLiteral, step.replacement}, Behavior::kMergedWithNext, Invert::kNo};
  }
  return step;
}

std::vector<PreTokenizerStep> pre_tokenizer_of(const Json& node) {
  std::vector<PreTokenizerStep> steps;
  for_each_component(
      node, "pretokenizers", "pre_tokenizer",
      [&](const Json& one, const std::string& type, const std::string& where) {
        if (type == "ByteLevel") return steps.emplace_back(byte_level_of(one, where)), void();
        if (type == "Split") return steps.emplace_back(split_of(one, where)), void();
        if (type == "Metaspace") return steps.emplace_back(metaspace_of(one, where)), void();
        if (type == "Digits") {
          const bool alone = flag(one, "individual_digits", false, where);
          return steps.emplace_back(Digits{alone ? Behavior::kIsolated : Behavior::kContiguous}),
                 void();
        }
        refuse("a pre-tokenizer", type, "ByteLevel, Split, Digits, Metaspace or Sequence");
      });
  return steps;
}

Merge merge_of(const Json& node, const std::string& where) {
  if (node.is_array() && node.size() == 2 && node[0].is_string() && node[1].is_string()) {
    return {node[0].get<std::string>(), node[1].get<std::string>()};
  }
  if (!node.is_string()) damaged(where, "\"left right\" or [\"left\", \"right\"]");
  const auto text = node.get<std::string>();
  const size_t space = text.find(' ');
  if (space == text.npos || text.find(' ', space + 1) != text.npos) {
    damaged(where, "two parts with one space between");
  }
  return {text.substr(0, space), text.substr(space + 1)};
}

bool is_version_line(const Json& merge) {
  return merge.is_string() && merge.get_ref<const std::string&>().starts_with("#version");
}

void read_vocab(const Json& model, BpeSpec& spec) {
  const Json& vocab = member(model, "vocab", "model");
  if (!vocab.is_object()) damaged("model.vocab", "a table of token to id");
  for (const auto& [token, id] : vocab.items()) {
    spec.vocab.emplace_back(token, id_of(id, "model.vocab"));
  }
  const Json& merges = member(model, "merges", "model");
  if (!merges.is_array()) damaged("model.merges", "a list");
  for (const Json& merge : merges) {
    if (is_version_line(merge)) continue;
    spec.merges.push_back(
        merge_of(merge, "model.merges[" + std::to_string(spec.merges.size()) + "]"));
  }
}

BpeSpec model_of(const Json& model) {
  // Files before the key `type` are told apart by what they hold.
  const std::string type =
      model.contains("merges") && !model.contains("type") ? "BPE" : text_of(model, "type", "model");
  if (type != "BPE") refuse("a model", type, "BPE");
  if (model.contains("dropout") && model["dropout"].is_number() && model["dropout"] != 0.0) {
    refuse("a model with dropout null or 0", "dropout " + model["dropout"].dump(), "BPE");
  }
  BpeSpec spec;
  read_vocab(model, spec);
  spec.unk_token = optional_text(model, "unk_token", "model");
  spec.continuing_subword_prefix =
      optional_text(model, "continuing_subword_prefix", "model").value_or("");
  spec.end_of_word_suffix = optional_text(model, "end_of_word_suffix", "model").value_or("");
  spec.fuse_unk = flag(model, "fuse_unk", false, "model");
  spec.byte_fallback = flag(model, "byte_fallback", false, "model");
  spec.ignore_merges = flag(model, "ignore_merges", false, "model");
  return spec;
}

std::vector<AddedToken> added_tokens_of(const Json& list) {
  std::vector<AddedToken> out;
  if (list.is_null()) return out;
  if (!list.is_array()) damaged("added_tokens", "a list");
  for (const Json& one : list) {
    const std::string where = "added_tokens[" + std::to_string(out.size()) + "]";
    AddedToken token;
    token.content = text_of(one, "content", where);
    token.single_word = flag(one, "single_word", false, where);
    token.lstrip = flag(one, "lstrip", false, where);
    token.rstrip = flag(one, "rstrip", false, where);
    token.special = flag(one, "special", false, where);
    token.normalized = flag(one, "normalized", !token.special, where);
    out.push_back(std::move(token));
  }
  return out;
}

std::vector<int32_t> template_ids(const Json& processor, const std::string& name,
                                  const std::string& where) {
  const Json& tokens = member(processor, "special_tokens", where);
  const Json& ids = member(member(tokens, name.c_str(), where + ".special_tokens"), "ids", where);
  if (!ids.is_array()) damaged(where + ".special_tokens." + name + ".ids", "a list");
  std::vector<int32_t> out;
  for (const Json& id : ids) {
    out.push_back(id_of(id, where + ".special_tokens." + name + ".ids"));
  }
  return out;
}

Template template_of(const Json& processor, const std::string& where) {
  const Json& single = member(processor, "single", where);
  if (!single.is_array()) damaged(where + ".single", "a list");
  Template out;
  for (const Json& piece : single) {
    if (piece.contains("SpecialToken")) {
      const std::string name = text_of(piece["SpecialToken"], "id", where + ".single");
      out.emplace_back(TemplateIds{template_ids(processor, name, where)});
    } else {
      const Json& sequence = member(piece, "Sequence", where + ".single");
      if (text_of(sequence, "id", where + ".single") != "A") {
        damaged(where + ".single", "the sequence A alone");
      }
      out.emplace_back(TextSlot{});
    }
  }
  return out;
}

std::optional<Template> post_processor_of(const Json& node) {
  std::optional<Template> out;
  for_each_component(
      node, "processors", "post_processor",
      [&](const Json& one, const std::string& type, const std::string& where) {
        if (type == "ByteLevel") return;  // moves offsets only
        if (type != "TemplateProcessing") {
          refuse("a post-processor", type, "TemplateProcessing, ByteLevel or Sequence");
        }
        if (out) refuse("one post-processor", "a second TemplateProcessing", "TemplateProcessing");
        out = template_of(one, where);
      });
  return out;
}

Strip strip_of(const Json& node, const std::string& where) {
  return {single_code_point(node, "content", where),
          number(member(node, "start", where), where + ".start"),
          number(member(node, "stop", where), where + ".stop")};
}

std::optional<std::vector<DecoderStep>> decoder_of(const Json& node) {
  if (node.is_null()) return std::nullopt;
  std::vector<DecoderStep> steps;
  for_each_component(
      node, "decoders", "decoder",
      [&](const Json& one, const std::string& type, const std::string& where) {
        if (type == "ByteLevel") return steps.emplace_back(BytesFromLevel{}), void();
        if (type == "ByteFallback") return steps.emplace_back(ByteFallback{}), void();
        if (type == "Fuse") return steps.emplace_back(Fuse{}), void();
        if (type == "Strip") return steps.emplace_back(strip_of(one, where)), void();
        if (type == "Replace") return steps.emplace_back(replace_of(one, where)), void();
        if (type == "Metaspace") {
          return steps.emplace_back(MetaspaceToSpace{single_code_point(one, "replacement", where),
                                                     prepend_scheme_of(one, where)}),
                 void();
        }
        refuse("a decoder", type,
               "ByteLevel, ByteFallback, Fuse, Strip, Replace, Metaspace or Sequence");
      });
  return steps;
}

Json parse(std::string_view text) {
  try {
    return Json::parse(text);
  } catch (const Json::exception& e) {
    throw Error(MOPT_DATA_LOSS,
                std::string("expected JSON, found damage (") + e.what() +
                    "); take the file from the model's source again",
                "tokenizer.json");
  }
}

}  // namespace

TokenizerSpec read_tokenizer_json(std::string_view text) {
  const Json root = parse(text);
  if (!root.is_object()) damaged("the top", "a table");
  // By reference: a copy would follow any nesting on the stack.
  const Json absent;
  const auto part = [&](const char* key) -> const Json& {
    return root.contains(key) ? root[key] : absent;
  };
  TokenizerSpec spec;
  spec.model = model_of(member(root, "model", "the top"));
  spec.added_tokens = added_tokens_of(part("added_tokens"));
  spec.normalizer = normalizer_of(part("normalizer"));
  spec.pre_tokenizer = pre_tokenizer_of(part("pre_tokenizer"));
  spec.post_processor = post_processor_of(part("post_processor"));
  spec.decoder = decoder_of(part("decoder"));
  return spec;
}

}  // namespace mopt::text
