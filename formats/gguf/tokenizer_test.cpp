#include "tokenizer.hpp"

#include <doctest/doctest.h>

#include "container.hpp"
#include "gguf_image_test.hpp"
#include "tests/golden.hpp"
#include "tests/json.hpp"

namespace {

using mopt::test::GgufImage;
using nlohmann::json;

// A parsed container with its bytes.
struct Parsed {
  explicit Parsed(GgufImage image)
      : bytes(image.build()),
        container(mopt::gguf::parse_container(
            {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, "m.gguf")) {}
  json tokenizer() const {
    return mopt::test::parse_json(mopt::gguf::tokenizer_json(container.metadata));
  }
  json config() const {
    return mopt::test::parse_json(mopt::gguf::tokenizer_config_json(container.metadata, "llama"));
  }
  std::string bytes;
  mopt::gguf::Container container;
};

GgufImage vocabulary(const std::string& pre) {
  GgufImage image;
  image.text("tokenizer.ggml.model", "gpt2");
  image.text("tokenizer.ggml.pre", pre);
  image.texts("tokenizer.ggml.tokens", {"<s>", "a", "b", "ab", "<user>", "[PAD5]"});
  image.i32s("tokenizer.ggml.token_type", {3, 1, 1, 1, 4, 5});
  image.texts("tokenizer.ggml.merges", {"a b"});
  image.u32("tokenizer.ggml.bos_token_id", 0);
  image.u32("tokenizer.ggml.eos_token_id", 4);
  return image;
}

std::string refusal(const GgufImage& image) {
  const Parsed parsed(image);
  try {
    mopt::gguf::tokenizer_json(parsed.container.metadata);
  } catch (const mopt::Error& e) {
    CHECK(e.code() == MOPT_UNSUPPORTED);
    return e.what();
  }
  FAIL_CHECK("it was accepted");
  return {};
}

TEST_CASE("vocabulary, merges and added tokens are those of the file, without unused ids") {
  const json t = Parsed(vocabulary("smollm")).tokenizer();
  CHECK(t["model"]["vocab"] == json({{"<s>", 0}, {"a", 1}, {"b", 2}, {"ab", 3}, {"<user>", 4}}));
  CHECK(t["model"]["merges"] == json::array({"a b"}));
  CHECK(t["model"]["type"] == "BPE");
  REQUIRE(t["added_tokens"].size() == 2);
  CHECK(t["added_tokens"][0] ==
        mopt::test::parse_json(R"({"id":0,"content":"<s>","single_word":false,
      "lstrip":false,"rstrip":false,"normalized":false,"special":true})"));
  CHECK(t["added_tokens"][1]["content"] == "<user>");
  CHECK(t["added_tokens"][1]["special"] == false);
  CHECK(t["normalizer"].is_null());
  CHECK(t["post_processor"].is_null());
  CHECK(t["pre_tokenizer"] == mopt::test::parse_json(R"({"type":"Sequence","pretokenizers":[
      {"type":"Digits","individual_digits":true},
      {"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}]})"));
}

TEST_CASE("the text gets BOS and EOS when the file asks for them") {
  GgufImage image = vocabulary("gpt-2");
  image.flag("tokenizer.ggml.add_bos_token", 1);
  image.flag("tokenizer.ggml.add_eos_token", 1);
  const Parsed parsed(image);
  CHECK(parsed.tokenizer()["post_processor"]["single"] ==
        mopt::test::parse_json(
            R"([{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}},
                        {"SpecialToken":{"id":"<user>","type_id":0}}])"));
  CHECK(parsed.config()["add_bos_token"] == true);
  CHECK(parsed.config()["add_eos_token"] == true);
}

TEST_CASE("tokenizer_config.json names the special tokens and the chat template") {
  GgufImage image = vocabulary("smollm");
  image.u32("tokenizer.ggml.padding_token_id", 5);
  image.text("tokenizer.chat_template", "{{ messages }}");
  image.u32("llama.context_length", 2048);
  CHECK(Parsed(image).config() ==
        mopt::test::parse_json(R"({"add_bos_token":false,"add_eos_token":false,
      "bos_token":"<s>","eos_token":"<user>","pad_token":"[PAD5]","chat_template":"{{ messages }}",
      "clean_up_tokenization_spaces":false,"model_max_length":2048,
      "tokenizer_class":"PreTrainedTokenizerFast"})"));
}

TEST_CASE("a whole tokenizer.json inside the file is passed on as it is") {
  GgufImage image = vocabulary("unheard of");
  image.text("tokenizer.huggingface.json", "{\"version\": \"1.0\"}");
  const Parsed parsed(image);
  CHECK(mopt::gguf::tokenizer_json(parsed.container.metadata) == "{\"version\": \"1.0\"}");
}

TEST_CASE("tokenizers that cannot be rebuilt are refused by name") {
  CHECK(refusal(vocabulary("tekken")).find("found 'tekken'") != std::string::npos);
  GgufImage spm;
  spm.text("tokenizer.ggml.model", "llama");
  CHECK(refusal(spm).find("found 'llama'") != std::string::npos);
  GgufImage bad_merge = vocabulary("gpt-2");
  const auto with_merges = [](const std::vector<std::string>& merges) {
    GgufImage image;
    image.text("tokenizer.ggml.model", "gpt2");
    image.texts("tokenizer.ggml.tokens", {"a", "b", "ab"});
    image.texts("tokenizer.ggml.merges", merges);
    return image;
  };
  CHECK(refusal(with_merges({"a b", "b a"})).find("found 'b a'") != std::string::npos);
  CHECK(refusal(with_merges({"ab"})).find("found 'ab'") != std::string::npos);
  GgufImage twice;
  twice.text("tokenizer.ggml.model", "gpt2");
  twice.texts("tokenizer.ggml.tokens", {"a", "a"});
  CHECK(refusal(twice).find("'a' twice") != std::string::npos);
  GgufImage types = with_merges({});
  types.i32s("tokenizer.ggml.token_type", {1});
  CHECK(refusal(types).find("a type for each of 3 tokens, found 1") != std::string::npos);
  GgufImage bos = with_merges({});
  bos.flag("tokenizer.ggml.add_bos_token", 1);
  CHECK(refusal(bos).find("'tokenizer.ggml.bos_token_id' because") != std::string::npos);
  bos.u32("tokenizer.ggml.bos_token_id", 3);
  CHECK(refusal(bos).find("below 3, found 3") != std::string::npos);
  GgufImage bytes;
  bytes.text("tokenizer.ggml.model", "gpt2");
  bytes.texts("tokenizer.ggml.tokens", {"\xFF"});
  CHECK(refusal(bytes).find("UTF-8") != std::string::npos);
}

// A GGUF vocabulary is made from a published tokenizer.json the way llama.cpp's converter does it;
// the rebuilt file must say the same.
TEST_CASE("a tokenizer.json that went through GGUF comes back with the same meaning") {
  for (const auto& [folder, pre] :
       {std::pair{"bpe_gpt2", "gpt-2"}, {"bpe_llama3", "llama-bpe"}, {"bpe_qwen2", "qwen2"}}) {
    const std::string path = mopt::test::golden(std::string("text/") + folder + "/tokenizer.json");
    if (path.empty()) {
      MESSAGE("skipped: no golden data for " << folder);
      continue;
    }
    CAPTURE(folder);
    json expected = mopt::test::parse_json(mopt::test::read_file(path));
    std::vector<std::string> tokens(expected["model"]["vocab"].size()), merges;
    for (const auto& [token, id] : expected["model"]["vocab"].items())
      tokens.at(id.get<size_t>()) = token;
    std::vector<int32_t> types(tokens.size(), 1);
    for (const json& added : expected["added_tokens"]) {
      types.at(added["id"].get<size_t>()) = added["special"].get<bool>() ? 3 : 4;
    }
    for (json& merge : expected["model"]["merges"]) {
      merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
      merge = merges.back();
    }
    GgufImage image;
    image.text("tokenizer.ggml.model", "gpt2");
    image.text("tokenizer.ggml.pre", pre);
    image.texts("tokenizer.ggml.tokens", tokens);
    image.i32s("tokenizer.ggml.token_type", types);
    image.texts("tokenizer.ggml.merges", merges);
    image.u32("tokenizer.ggml.bos_token_id", 0);
    const json got = Parsed(image).tokenizer();
    for (const auto& [key, value] : expected.items()) {
      CAPTURE(key);
      CHECK((got.at(key) == value || key == "post_processor" || key == "model"));
    }
    CHECK(got["model"]["vocab"] == expected["model"]["vocab"]);
    CHECK(got["model"]["merges"] == expected["model"]["merges"]);
    CHECK(got["model"]["ignore_merges"] == expected["model"]["ignore_merges"]);
    const auto single = [](const json& file) {
      return file["post_processor"].is_null() ? json() : file["post_processor"]["single"];
    };
    CHECK(single(got) == single(expected));
  }
}

}  // namespace
