// A tokenizer.json as plain data: the components in the order in which they apply, `Sequence`s
// flattened.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace mopt::text {

enum class PatternKind { kLiteral, kRegex };
struct PatternSpec {
  PatternKind kind = PatternKind::kLiteral;
  std::string text;
};

enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };

struct Normalize {
  UnicodeForm form;
};
struct Lowercase {};
struct Prepend {
  std::string prefix;
};
struct Replace {
  PatternSpec pattern;
  std::string content;
};
using NormalizerStep = std::variant<Normalize, Lowercase, Prepend, Replace>;

enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
enum class Invert { kNo, kYes };
enum class PrefixSpace { kNo, kYes };
enum class PrependScheme { kAlways, kFirst, kNever };

struct Split {
  PatternSpec pattern;
  Behavior behavior = Behavior::kIsolated;
  Invert invert = Invert::kNo;
};
struct Digits {
  Behavior behavior = Behavior::kContiguous;  // or kIsolated: each digit alone
};
struct ByteLevel {
  PrefixSpace prefix_space = PrefixSpace::kNo;
  std::optional<Split> words;  // the GPT-2 expression, unless use_regex is false
};
struct Metaspace {
  std::string replacement;  // one code point
  PrependScheme prepend = PrependScheme::kAlways;
  std::optional<Split> words;
};
using PreTokenizerStep = std::variant<Split, Digits, ByteLevel, Metaspace>;

struct Merge {
  std::string left, right;
};
struct BpeSpec {
  std::vector<std::pair<std::string, int32_t>> vocab;
  std::vector<Merge> merges;  // rank = index
  std::optional<std::string> unk_token;
  std::string continuing_subword_prefix, end_of_word_suffix;
  bool fuse_unk = false, byte_fallback = false, ignore_merges = false;
};

struct AddedToken {
  std::string content;
  bool single_word = false, lstrip = false, rstrip = false, normalized = true, special = false;
};

// What surrounds the ids of a text when special tokens are asked for.
struct TextSlot {};
struct TemplateIds {
  std::vector<int32_t> ids;
};
using Template = std::vector<std::variant<TextSlot, TemplateIds>>;

struct BytesFromLevel {};  // the decoder ByteLevel
struct ByteFallback {};
struct Fuse {};
struct Strip {
  std::string content;  // one code point
  int64_t start = 0, stop = 0;
};
struct MetaspaceToSpace {
  std::string replacement;
  PrependScheme prepend = PrependScheme::kAlways;
};
using DecoderStep =
    std::variant<BytesFromLevel, ByteFallback, Fuse, Strip, Replace, MetaspaceToSpace>;

struct TokenizerSpec {
  std::vector<AddedToken> added_tokens;
  std::vector<NormalizerStep> normalizer;
  std::vector<PreTokenizerStep> pre_tokenizer;
  BpeSpec model;
  std::optional<Template> post_processor;
  std::optional<std::vector<DecoderStep>> decoder;  // absent: tokens joined by spaces
};

// Throws mopt::Error that names the component and what may stand there.
TokenizerSpec read_tokenizer_json(std::string_view text);

}  // namespace mopt::text
