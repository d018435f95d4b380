#include "host/text/pre_tokenizer.hpp"

#include <doctest/doctest.h>

namespace mopt::text {
namespace {

using Texts = std::vector<std::string>;

Texts words(std::vector<PreTokenizerStep> steps, const std::string& text,
            Place place = Place::kStart) {
  const Words words = PreTokenizer(std::move(steps)).apply(text, place);
  Texts out;
  for (const Range& range : words.ranges) {
    out.push_back(words.text.substr(range.begin, range.size()));
  }
  return out;
}

Texts split(Behavior behavior, Invert invert = Invert::kNo,
            const std::string& text = "the-final--countdown") {
  return words({Split{{PatternKind::kLiteral, "-"}, behavior, invert}}, text);
}

const PatternSpec kWord{PatternKind::kRegex, R"(\w+|[^\w\s]+)"};

}  // namespace

// The example of the original's documentation.
TEST_CASE("split behaviors keep, drop or attach the separator") {
  CHECK(split(Behavior::kRemoved) == Texts{"the", "final", "countdown"});
  CHECK(split(Behavior::kIsolated) == Texts{"the", "-", "final", "-", "-", "countdown"});
  CHECK(split(Behavior::kMergedWithPrevious) == Texts{"the-", "final-", "-", "countdown"});
  CHECK(split(Behavior::kMergedWithNext) == Texts{"the", "-final", "-", "-countdown"});
  CHECK(split(Behavior::kContiguous) == Texts{"the", "-", "final", "--", "countdown"});
}

TEST_CASE("invert takes what lies between the matches for the separator") {
  CHECK(split(Behavior::kRemoved, Invert::kYes) == Texts{"-", "-", "-"});
  CHECK(split(Behavior::kMergedWithNext, Invert::kYes) ==
        Texts{"the-", "final-", "-", "countdown"});
  CHECK(words({Split{kWord, Behavior::kRemoved, Invert::kYes}}, "How are you doing?") ==
        Texts{"How", "are", "you", "doing", "?"});
}

TEST_CASE("separators at the edges leave no empty word") {
  for (const Behavior behavior : {Behavior::kIsolated, Behavior::kMergedWithPrevious,
                                  Behavior::kMergedWithNext, Behavior::kContiguous}) {
    std::string joined;
    for (const std::string& word : split(behavior, Invert::kNo, "--a-")) {
      CHECK_FALSE(word.empty());
      joined += word;
    }
    CHECK(joined == "--a-");
  }
  CHECK(split(Behavior::kRemoved, Invert::kNo, "---").empty());
  CHECK(split(Behavior::kIsolated, Invert::kNo, "").empty());
}

TEST_CASE("digits of every script are split, alone or in runs") {
  CHECK(words({Digits{Behavior::kIsolated}}, "a12½b") == Texts{"a", "1", "2", "½", "b"});
  CHECK(words({Digits{Behavior::kContiguous}}, "a1२b") == Texts{"a", "1२", "b"});
}

TEST_CASE("byte level puts the space before each piece once and writes bytes as characters") {
  ByteLevel step;
  CHECK(words({step}, "é\n") == Texts{"Ã©Ċ"});
  step.prefix_space = PrefixSpace::kYes;
  CHECK(words({step}, "a") == Texts{"Ġa"});
  CHECK(words({step}, " a") == Texts{"Ġa"});
  CHECK(words({Split{{PatternKind::kLiteral, "|"}, Behavior::kRemoved, Invert::kNo}, step},
              "a|b") == Texts{"Ġa", "Ġb"});
  CHECK(words({step}, "").empty());
}

TEST_CASE("metaspace marks the first word of the text, or every piece, or none") {
  const auto marked = [](PrependScheme scheme, Place place, const std::string& text) {
    const Split words_of{{PatternKind::kLiteral, "▁"}, Behavior::kMergedWithNext, Invert::kNo};
    return words({Metaspace{"▁", scheme, words_of}}, text, place);
  };
  CHECK(marked(PrependScheme::kAlways, Place::kStart, "Hey   friend!") ==
        Texts{"▁Hey", "▁", "▁", "▁friend!"});
  CHECK(marked(PrependScheme::kAlways, Place::kInside, "Hey") == Texts{"▁Hey"});
  CHECK(marked(PrependScheme::kFirst, Place::kInside, "Hey you") == Texts{"Hey", "▁you"});
  CHECK(marked(PrependScheme::kFirst, Place::kStart, " Hey") == Texts{"▁Hey"});
  CHECK(marked(PrependScheme::kNever, Place::kStart, "Hey") == Texts{"Hey"});
}

}  // namespace mopt::text
