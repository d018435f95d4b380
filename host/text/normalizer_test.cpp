#include "host/text/normalizer.hpp"

#include <doctest/doctest.h>

#include "host/text/unicode.hpp"

namespace mopt::text {
namespace {

std::string normalized(std::vector<NormalizerStep> steps, const std::string& text) {
  return Normalizer(std::move(steps)).apply(text);
}

}  // namespace

// Values of the Unicode standard, annex 15, figures 3 to 6.
TEST_CASE("the four forms compose and decompose as the standard's figures show") {
  const std::string ligature = "\uFB01", dots = "\u1E9B\u0323";
  CHECK(normalized({Normalize{UnicodeForm::kNfc}}, "e\u0301 \u212B") == "\u00E9 \u00C5");
  CHECK(normalized({Normalize{UnicodeForm::kNfd}}, "\u00E9") == "e\u0301");
  CHECK(normalized({Normalize{UnicodeForm::kNfc}}, ligature) == ligature);
  CHECK(normalized({Normalize{UnicodeForm::kNfkc}}, ligature) == "fi");
  CHECK(normalized({Normalize{UnicodeForm::kNfd}}, dots) == "\u017F\u0323\u0307");
  CHECK(normalized({Normalize{UnicodeForm::kNfkc}}, dots) == "\u1E69");
  CHECK(normalized({Normalize{UnicodeForm::kNfkd}}, dots) == "s\u0323\u0307");
}

TEST_CASE("lower case looks at one character at a time") {
  CHECK(normalized({Lowercase{}}, "ΣΑΣ ÀB \u0130") == "σασ àb i\u0307");
}

TEST_CASE("steps apply in order, and nothing is put before an empty text") {
  const std::vector<NormalizerStep> llama = {Prepend{"▁"},
                                             Replace{{PatternKind::kLiteral, " "}, "▁"}};
  CHECK(normalized(llama, "a b") == "▁a▁b");
  CHECK(normalized(llama, "") == "");
  CHECK(normalized({Replace{{PatternKind::kRegex, " {2,}"}, "+"}}, "a  b c   ") == "a+b c+");
}

TEST_CASE("invalid bytes become one U+FFFD for each maximal subpart") {
  // Table 3-8 of the Unicode standard.
  CHECK(to_valid_utf8("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41") ==
        "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA");
  CHECK(to_valid_utf8("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41") == "\uFFFD\uFFFD\uFFFD\uFFFDA");
  CHECK(to_valid_utf8("\xED\xA0\x80") == "\uFFFD\uFFFD\uFFFD");
}

}  // namespace mopt::text
