#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "host/text/tokenizer.hpp"
#include "host/text/tokenizer_spec.hpp"
#include "mopt/error.hpp"

namespace mopt::text {
namespace {

using Json = nlohmann::json;

Json base() {
  return Json::parse(R"({"version": "1.0", "truncation": null, "padding": null,
      "added_tokens": [{"id": 3, "content": "<s>", "single_word": false, "lstrip": false,
                        "rstrip": false, "normalized": false, "special": true}],
      "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null,
      "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})");
}

std::string refusal(const std::string& text) {
  try {
    read_tokenizer_json(text);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

std::string refusal_of(const char* part, const char* type) {
  Json file = base();
  file[part] = {{"type", type}};
  return refusal(file.dump());
}

bool names(const std::string& message, const std::string& text) {
  return message.find(text) != std::string::npos;
}

}  // namespace

TEST_CASE("components that are not served are refused by their name") {
  const std::pair<const char*, const char*> kRefused[] = {{"normalizer", "BertNormalizer"},
                                                          {"normalizer", "Precompiled"},
                                                          {"normalizer", "StripAccents"},
                                                          {"pre_tokenizer", "BertPreTokenizer"},
                                                          {"pre_tokenizer", "UnicodeScripts"},
                                                          {"post_processor", "BertProcessing"},
                                                          {"post_processor", "RobertaProcessing"},
                                                          {"decoder", "WordPiece"},
                                                          {"decoder", "CTC"},
                                                          {"model", "Unigram"},
                                                          {"model", "WordPiece"},
                                                          {"model", "WordLevel"}};
  for (const auto& [part, type] : kRefused) {
    const std::string message = refusal_of(part, type);
    CAPTURE(message);
    CHECK(names(message, std::string("found '") + type + "'"));
    CHECK(names(message, "use a tokenizer made of these"));
  }
}

TEST_CASE("a component inside a sequence is refused too") {
  Json file = base();
  file["decoder"] = {{"type", "Sequence"}, {"decoders", {{{"type", "Fuse"}}, {{"type", "CTC"}}}}};
  CHECK(names(refusal(file.dump()), "found 'CTC'"));
}

TEST_CASE("dropout and a second template are refused") {
  Json file = base();
  file["model"]["dropout"] = 0.1;
  CHECK(names(refusal(file.dump()), "dropout 0.1"));
  file = base();
  const Json one = {{"type", "TemplateProcessing"},
                    {"single", Json::array()},
                    {"special_tokens", Json::object()}};
  file["post_processor"] = {{"type", "Sequence"}, {"processors", {one, one}}};
  CHECK(names(refusal(file.dump()), "a second TemplateProcessing"));
}

TEST_CASE("damage is named by its place") {
  CHECK(names(refusal(""), "expected JSON"));
  CHECK(names(refusal("[]"), "a table at the top"));
  CHECK(names(refusal("{}"), "a key 'model' at the top"));
  CHECK(names(refusal(R"({"model": {"type": "BPE", "merges": []}})"), "a key 'vocab' at model"));
  CHECK(names(refusal(R"({"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}})"),
              "at model.vocab"));
  CHECK(names(refusal(R"({"model": {"type": "BPE", "vocab": {"a": 4000000000}, "merges": []}})"),
              "below 2^31"));
  Json file = base();
  file["model"]["merges"] = {"a b", "a b c"};
  CHECK(names(refusal(file.dump()), "two parts with one space between at model.merges[1]"));
  file = base();
  file["added_tokens"][0].erase("content");
  CHECK(names(refusal(file.dump()), "a key 'content' at added_tokens[0]"));
}

TEST_CASE("half a surrogate pair in the file is damage, a whole one is a character") {
  std::string text = base().dump();
  text.replace(text.find("<s>"), 3, "\\ud83d");
  CHECK(names(refusal(text), "expected JSON"));
  text.replace(text.find("\\ud83d"), 6, "\\ud83d\\ude00");
  CHECK(Tokenizer::from_json(text).id("😀") == 3);
}

TEST_CASE("merges are read in both spellings, behind a version line") {
  Json file = base();
  file["model"]["merges"] = {"#version: 0.2", "a b"};
  CHECK(read_tokenizer_json(file.dump()).model.merges.size() == 1);
  file["model"]["merges"] = Json::array({Json::array({"a", "b"})});
  const auto merges = read_tokenizer_json(file.dump()).model.merges;
  CHECK(merges[0].left == "a");
  CHECK(merges[0].right == "b");
}

TEST_CASE("a file without the model's type is byte pair encoding when it has merges") {
  Json file = base();
  file["model"].erase("type");
  CHECK(Tokenizer::from_json(file.dump()).encode("ab", SpecialTokens::kNone) ==
        std::vector<int32_t>{2});
}

TEST_CASE("without a decoder tokens are joined by spaces") {
  const auto tokenizer = Tokenizer::from_json(base().dump());
  const std::vector<int32_t> ids = {2, 3, 0, 99, -1};
  CHECK(tokenizer.decode(ids, ShowSpecial::kKeep) == "ab <s> a");
  CHECK(tokenizer.decode(ids, ShowSpecial::kSkip) == "ab a");
  CHECK(tokenizer.vocab_size() == 4);
}

TEST_CASE("a template stands around the text only when special tokens are asked for") {
  Json file = base();
  file["post_processor"] = Json::parse(R"({"type": "Sequence", "processors": [
      {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true},
      {"type": "TemplateProcessing", "pair": [],
       "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                  {"Sequence": {"id": "A", "type_id": 0}},
                  {"SpecialToken": {"id": "both", "type_id": 0}}],
       "special_tokens": {"<s>": {"id": "<s>", "ids": [3], "tokens": ["<s>"]},
                          "both": {"id": "both", "ids": [0, 1], "tokens": ["a", "b"]}}}]})");
  const auto tokenizer = Tokenizer::from_json(file.dump());
  CHECK(tokenizer.encode("ab", SpecialTokens::kAdd) == std::vector<int32_t>{3, 2, 0, 1});
  CHECK(tokenizer.encode("", SpecialTokens::kAdd) == std::vector<int32_t>{3, 0, 1});
  CHECK(tokenizer.encode("ab", SpecialTokens::kNone) == std::vector<int32_t>{2});
}

TEST_CASE("nesting without end is refused, not followed") {
  std::string open, close;
  for (int i = 0; i < 100'000; ++i) {
    open += R"({"type": "Sequence", "decoders": [)";
    close += "]}";
  }
  std::string text = base().dump();
  text.replace(text.find("\"decoder\":null") + 10, 4, open + close);
  CHECK(names(refusal(text), "at most 100 nested sequences"));
  Json file = base();
  file["normalizer"] = {
      {"type", "Replace"}, {"content", ""}, {"pattern", {{"Regex", std::string(100'000, '[')}}}};
  CHECK_THROWS_AS(Tokenizer::from_json(file.dump()), Error);
}

TEST_CASE("a damaged file is refused or read, whatever byte is wrong") {
  const std::string text = base().dump();
  for (size_t at = 0; at < text.size(); ++at) {
    for (const char c : {'\0', '"', '}', '[', '9', '\xFF'}) {
      std::string damaged = text;
      damaged[at] = c;
      try {
        Tokenizer::from_json(damaged).encode("ab <s>", SpecialTokens::kAdd);
      } catch (const Error& e) {
        CHECK_FALSE(std::string(e.what()).empty());
      }
    }
  }
}

}  // namespace mopt::text
