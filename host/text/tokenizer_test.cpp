#include "host/text/tokenizer.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <random>
#include <thread>

#include "host/text/unicode.hpp"
#include "tests/golden.hpp"
#include "tests/json.hpp"

namespace mopt::text {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<int32_t>;

struct Golden {
  Tokenizer tokenizer;
  Json expected;
};

std::optional<Golden> load(const std::string& name) {
  const std::string file = test::golden("text/" + name + "/tokenizer.json");
  const std::string rows = test::golden("text/" + name + "/expected.json");
  if (file.empty() || rows.empty()) {
    MESSAGE("no golden data for " << name);
    return std::nullopt;
  }
  return Golden{Tokenizer::from_json(test::read_file(file)), Json::parse(test::read_file(rows))};
}

// The optional keys of a row stand for "equal to the plain one".
Ids ids_of(const Json& row, const char* key) {
  return row.value(key, row["ids"]).get<Ids>();
}
std::string text_of(const Json& row, const char* key, const std::string& absent) {
  return row.value(key, absent);
}

std::string stream(const Tokenizer& tokenizer, const Ids& ids, ShowSpecial special) {
  StreamDecoder decoder(tokenizer, special);
  std::string out;
  for (const int32_t id : ids) {
    out += decoder.push(id);
  }
  return out + decoder.finish();
}

void check_decode(const Tokenizer& tokenizer, const Ids& ids, ShowSpecial special,
                  const std::string& expected) {
  CHECK(tokenizer.decode(ids, special) == expected);
  CHECK(stream(tokenizer, ids, special) == expected);
}

void check_row(const Tokenizer& tokenizer, const Json& row) {
  const auto text = row["text"].get<std::string>();
  CAPTURE(text);
  const auto decoded = row["decoded"].get<std::string>();
  const Ids ids = ids_of(row, "ids");
  const Ids with_special = ids_of(row, "ids_with_special");
  CHECK(tokenizer.encode(text, SpecialTokens::kNone) == ids);
  CHECK(tokenizer.encode(text, SpecialTokens::kAdd) == with_special);
  check_decode(tokenizer, ids, ShowSpecial::kKeep, decoded);
  check_decode(tokenizer, with_special, ShowSpecial::kKeep,
               text_of(row, "decoded_with_special", decoded));
  check_decode(tokenizer, ids, ShowSpecial::kSkip, text_of(row, "decoded_skip_special", decoded));
}

constexpr const char* kGoldens[] = {"bpe_gpt2", "bpe_llama3", "bpe_qwen2",
                                    "smollm2",  "sp_gemma",   "sp_llama2"};

}  // namespace

TEST_CASE("every golden text is encoded and decoded as the original does") {
  for (const char* name : kGoldens) {
    CAPTURE(name);
    const auto golden = load(name);
    if (!golden) continue;
    REQUIRE(golden->expected["encode"].size() >= 60);
    for (const Json& row : golden->expected["encode"]) {
      check_row(golden->tokenizer, row);
    }
  }
}

TEST_CASE("random ids are decoded as the original does, at once and streamed") {
  for (const char* name : kGoldens) {
    CAPTURE(name);
    const auto golden = load(name);
    if (!golden) continue;
    for (const Json& row : golden->expected["decode_random_ids"]) {
      const Ids ids = row["ids"].get<Ids>();
      CAPTURE(row.dump());
      check_decode(golden->tokenizer, ids, ShowSpecial::kKeep, row["decoded"]);
      check_decode(golden->tokenizer, ids, ShowSpecial::kSkip, row["decoded_skip_special"]);
    }
  }
}

TEST_CASE("the same ids come from many threads at once") {
  const auto golden = load("bpe_llama3");
  if (!golden) return;
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (const Json& row : golden->expected["encode"]) {
        const auto text = row["text"].get<std::string>();
        if (golden->tokenizer.encode(text, SpecialTokens::kNone) != ids_of(row, "ids")) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  CHECK(wrong == 0);
}

TEST_CASE("bytes that are not UTF-8 are read as U+FFFD, and NUL is a character") {
  const auto golden = load("bpe_qwen2");
  if (!golden) return;
  const Tokenizer& tokenizer = golden->tokenizer;
  const auto encode = [&](std::string_view text) {
    return tokenizer.encode(text, SpecialTokens::kNone);
  };
  CHECK(encode("a\xFF\xE4\xB8z") == encode("a\uFFFD\uFFFDz"));
  CHECK(encode("\xED\xA0\x80") == encode("\uFFFD\uFFFD\uFFFD"));
  const std::string zeros("a\0\0b", 4);
  CHECK(tokenizer.decode(encode(zeros), ShowSpecial::kKeep) == zeros);
  CHECK(encode("").empty());
  CHECK(tokenizer.decode({}, ShowSpecial::kKeep).empty());
}

TEST_CASE("text survives encoding and decoding when nothing normalizes it") {
  const auto golden = load("bpe_llama3");
  if (!golden) return;
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    std::string bytes(random() % 60, ' ');
    for (char& c : bytes) {
      c = static_cast<char>(random());
    }
    const std::string text = to_valid_utf8(bytes);
    CAPTURE(text);
    const Ids ids = golden->tokenizer.encode(text, SpecialTokens::kNone);
    CHECK(golden->tokenizer.decode(ids, ShowSpecial::kKeep) == text);
    CHECK(stream(golden->tokenizer, ids, ShowSpecial::kKeep) == text);
  }
}

TEST_CASE("a stream never gives half a character") {
  for (const char* name : kGoldens) {
    CAPTURE(name);
    const auto golden = load(name);
    if (!golden) continue;
    for (const Json& row : golden->expected["encode"]) {
      StreamDecoder decoder(golden->tokenizer, ShowSpecial::kKeep);
      const auto decoded = row["decoded"].get<std::string>();
      std::string so_far;
      for (const int32_t id : ids_of(row, "ids")) {
        const std::string part = decoder.push(id);
        so_far += part;
        CHECK(is_valid_utf8(part));
        CHECK(decoded.starts_with(so_far));
      }
    }
  }
}

TEST_CASE("a byte-level stream gives every character as soon as it is complete") {
  const auto golden = load("bpe_gpt2");
  if (!golden) return;
  for (const Json& row : golden->expected["encode"]) {
    StreamDecoder decoder(golden->tokenizer, ShowSpecial::kKeep);
    Ids before;
    std::string so_far;
    for (const int32_t id : ids_of(row, "ids")) {
      before.push_back(id);
      so_far += decoder.push(id);
      const std::string all = golden->tokenizer.decode(before, ShowSpecial::kKeep);
      if (!all.ends_with(kReplacementCharacter)) CHECK(so_far == all);
    }
  }
}

}  // namespace mopt::text
