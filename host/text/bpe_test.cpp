#include "host/text/bpe.hpp"

#include <doctest/doctest.h>

#include <map>
#include <random>

#include "host/text/unicode.hpp"
#include "mopt/error.hpp"

namespace mopt::text {
namespace {

using Ids = std::vector<int32_t>;

Ids encode(const Bpe& bpe, std::string_view word) {
  BpeScratch scratch;
  Ids ids;
  bpe.encode(word, scratch, ids);
  return ids;
}

// Merges the leftmost occurrence of the best-ranked pair until none is left.
std::vector<std::string> naive(std::vector<std::string> parts, const std::vector<Merge>& merges) {
  for (;;) {
    size_t best = merges.size(), at = 0;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      for (size_t rank = 0; rank < best; ++rank) {
        if (merges[rank].left != parts[i] || merges[rank].right != parts[i + 1]) continue;
        best = rank;
        at = i;
      }
    }
    if (best == merges.size()) return parts;
    parts[at] += parts[at + 1];
    parts.erase(parts.begin() + static_cast<ptrdiff_t>(at) + 1);
  }
}

// A random vocabulary over a, b, c: every merge joins two tokens that exist before it.
BpeSpec random_spec(std::mt19937& random) {
  BpeSpec spec;
  std::map<std::string, int32_t> known;
  const auto add = [&](const std::string& token) {
    if (!known.emplace(token, static_cast<int32_t>(known.size())).second) return false;
    spec.vocab.emplace_back(token, known[token]);
    return true;
  };
  for (const char* letter : {"a", "b", "c"}) {
    add(letter);
  }
  while (spec.merges.size() < 25) {
    const std::string left = spec.vocab[random() % spec.vocab.size()].first;
    const std::string right = spec.vocab[random() % spec.vocab.size()].first;
    if (left.size() + right.size() <= 8 && add(left + right)) spec.merges.push_back({left, right});
  }
  return spec;
}

BpeSpec with_unknown() {
  BpeSpec spec;
  spec.vocab = {{"<unk>", 0}, {"a", 1}, {"b", 2}};
  spec.unk_token = "<unk>";
  return spec;
}

}  // namespace

TEST_CASE("the queue merges what repeated search for the best pair merges") {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    const BpeSpec spec = random_spec(random);
    const Bpe bpe(spec);
    std::vector<std::string> letters;
    for (size_t size = random() % 40; letters.size() < size;) {
      letters.emplace_back(1, static_cast<char>('a' + random() % 3));
    }
    std::string word;
    for (const std::string& letter : letters) {
      word += letter;
    }
    CAPTURE(word);
    Ids expected;
    for (const std::string& part : naive(letters, spec.merges)) {
      expected.push_back(*bpe.id(part));
    }
    CHECK(encode(bpe, word) == expected);
  }
}

TEST_CASE("unknown characters are one token each, or one for a run, or dropped") {
  BpeSpec spec = with_unknown();
  CHECK(encode(Bpe(spec), "accb") == Ids{1, 0, 0, 2});
  spec.fuse_unk = true;
  CHECK(encode(Bpe(spec), "accb") == Ids{1, 0, 2});
  CHECK(encode(Bpe(spec), "cc") == Ids{0});
  spec.unk_token.reset();
  CHECK(encode(Bpe(spec), "accb") == Ids{1, 2});
}

TEST_CASE("an unknown token that the vocabulary lacks is an error once it is needed") {
  BpeSpec spec = with_unknown();
  spec.unk_token = "<none>";
  const Bpe bpe(spec);
  CHECK(encode(bpe, "ab") == Ids{1, 2});
  CHECK_THROWS_AS(encode(bpe, "c"), Error);
}

TEST_CASE("bytes stand for a missing character only when all of them exist") {
  BpeSpec spec = with_unknown();
  spec.byte_fallback = true;
  spec.vocab.insert(spec.vocab.end(), {{"<0xC3>", 3}, {"<0xA9>", 4}});
  const Bpe bpe(spec);
  CHECK(encode(bpe, "aé") == Ids{1, 3, 4});
  CHECK(encode(bpe, "è") == Ids{0});
}

TEST_CASE("with ignore_merges a whole word of the vocabulary is taken as it is") {
  BpeSpec spec;
  spec.vocab = {{"a", 0}, {"b", 1}, {"ab", 2}};
  CHECK(encode(Bpe(spec), "ab") == Ids{0, 1});
  spec.ignore_merges = true;
  CHECK(encode(Bpe(spec), "ab") == Ids{2});
  CHECK(encode(Bpe(spec), "aba") == Ids{0, 1, 0});
}

TEST_CASE("prefix and suffix decorate the characters that are not first, and the last") {
  BpeSpec spec;
  spec.vocab = {{"a", 0}, {"##b", 1}, {"##c</w>", 2}, {"ab", 3}, {"a</w>", 4}};
  spec.merges = {{"a", "##b"}};
  spec.continuing_subword_prefix = "##";
  spec.end_of_word_suffix = "</w>";
  CHECK(encode(Bpe(spec), "abc") == Ids{3, 2});
  CHECK(encode(Bpe(spec), "a") == Ids{4});
}

TEST_CASE("a merge whose parts or result are no tokens is named") {
  BpeSpec spec;
  spec.vocab = {{"a", 0}, {"b", 1}};
  spec.merges = {{"a", "b"}};
  try {
    const Bpe bpe(spec);
    FAIL("accepted");
  } catch (const Error& e) {
    CHECK(std::string(e.what()).find("no token 'ab' for merge 0") != std::string::npos);
  }
}

TEST_CASE("a word of a million characters is merged") {
  BpeSpec spec;
  spec.vocab = {{"x", 0}, {"xx", 1}, {"xxxx", 2}};
  spec.merges = {{"x", "x"}, {"xx", "xx"}};
  CHECK(encode(Bpe(spec), std::string(1'000'000, 'x')) == Ids(250'000, 2));
}

TEST_CASE("words that share a cache slot do not see each other's ids") {
  BpeSpec spec;
  for (int32_t i = 0; i < 26; ++i) {
    spec.vocab.emplace_back(std::string(1, static_cast<char>('a' + i)), i);
  }
  const Bpe bpe(spec);
  BpeScratch scratch;
  for (int round = 0; round < 2; ++round) {
    for (int32_t i = 0; i < 26 * 26 * 26 * 5; ++i) {
      const Ids expected = {i % 26, i / 26 % 26, i / 676 % 26, i / 17576};
      std::string word;
      for (const int32_t letter : expected) {
        word += static_cast<char>('a' + letter);
      }
      Ids ids;
      bpe.encode(word, scratch, ids);
      if (ids != expected) FAIL("wrong ids for " << word);
    }
  }
}

}  // namespace mopt::text
