#include "host/text/pattern.hpp"

#include <doctest/doctest.h>

#include "mopt/error.hpp"

namespace mopt::text {
namespace {

using Texts = std::vector<std::string>;

Texts matches(const std::string& expression, std::string_view text) {
  const Pattern pattern({PatternKind::kRegex, expression});
  std::vector<Range> found;
  pattern.find_all(text, found);
  Texts out;
  for (const Range& range : found) {
    out.emplace_back(text.substr(range.begin, range.size()));
  }
  return out;
}

std::string refusal(const std::string& expression) {
  try {
    const Pattern pattern({PatternKind::kRegex, expression});
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("white space is White_Space: U+0085 and U+3000 belong to it, U+180E does not") {
  CHECK(matches(R"(\s)", "a\u0085b\u3000c\u180Ed\vx") == Texts{"\u0085", "\u3000", "\v"});
  CHECK(matches(R"(\S+)", "a\u0085b\u180Ec\n") == Texts{"a", "b\u180Ec"});
  CHECK(matches(R"([^\s\p{L}]+)", "a \u180E!b") == Texts{"\u180E!"});
  CHECK(matches(R"([\S\n]+)", "ab \nc") == Texts{"ab", "\nc"});
}

TEST_CASE("h is a hexadecimal digit and v the vertical tab, as in Oniguruma") {
  CHECK(matches(R"(\h+)", "xfF09 g") == Texts{"fF09"});
  CHECK(matches(R"([\H]+)", "fxyz0") == Texts{"xyz"});
  CHECK(matches(R"(\v)", "\n\v") == Texts{"\v"});
}

TEST_CASE("a plus behind an interval repeats it, a plus behind a plus makes it possessive") {
  CHECK(matches(R"(\d{1,3}+)", "1234567 89") == Texts{"1234567", "89"});
  CHECK(matches(R"(a++a)", "aaa").empty());
  CHECK(matches(R"(a{2}?b)", "b aab ab") == Texts{"b", "aab", "b"});
  CHECK(matches(R"(^a{,2})", "aaa") == Texts{"aa"});
  CHECK(matches(R"(a{1,3}?)", "aa") == Texts{"a", "a"});
  CHECK(matches(R"(a{x}|b{)", "a{x} b{") == Texts{"a{x}", "b{"});
  CHECK(matches(R"((?:ab){2}+c)", "ababababc ababc abc") == Texts{"ababababc", "ababc"});
}

TEST_CASE("brackets nest, intersect and negate") {
  CHECK(matches(R"([a-c[xy]]+)", "abx-zyc") == Texts{"abx", "yc"});
  CHECK(matches(R"([^(\s|[.,!])]+)", "one, (two)|three") == Texts{"one", "two", "three"});
  CHECK(matches(R"([\p{L}&&[^\p{Han}]]+)", "ab漢字cd") == Texts{"ab", "cd"});
  CHECK(matches(R"([^\p{L}&&[^\p{Han}]]+)", "ab漢字cd1") == Texts{"漢字", "1"});
  CHECK(matches(R"([\w&&\D]+)", "ab12_c") == Texts{"ab", "_c"});
  CHECK(matches(R"([]x]+)", "a]x") == Texts{"]x"});
  CHECK(matches(R"([[:alpha:]_]+|[[:^alpha:]]+)", "ab_1 é") == Texts{"ab_", "1 ", "é"});
  CHECK(matches(R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+)", "a.b [c") ==
        Texts{".b", "[c"});
  CHECK(matches(R"([一-龥]+)", "a漢字b") == Texts{"漢字"});
}

TEST_CASE("scripts are scripts, not script extensions; long names of categories are known") {
  // U+30FC, the prolonged sound mark, extends Hiragana and Katakana but has the script Common.
  CHECK(matches(R"(\p{Katakana}+)", "テーマ") == Texts{"テ", "マ"});
  CHECK(matches(R"(\p{Letter}+)", "ab1") == Texts{"ab"});
  CHECK(matches(R"(\p{^L}+|\P{^Lu}+)", "ab1C") == Texts{"1", "C"});
  CHECK(matches(R"(\p{Lower}+)", "aªB") == Texts{"aª"});
}

TEST_CASE("a word character is a letter, a mark, a decimal digit or a connector") {
  CHECK(matches(R"(\w+)", "a\u0301_1\u203F \u00BD") == Texts{"a\u0301_1\u203F"});
  CHECK(matches(R"(\bcat\b)", "cat concat cat\u0301 (cat)") == Texts{"cat", "cat"});
  CHECK(matches(R"(a\B)", "a ab") == Texts{"a"});
}

TEST_CASE("options: i folds Unicode, m lets the dot match a newline, an isolated one holds on") {
  CHECK(matches("(?i:'s)", "'S 's '\u017F") == Texts{"'S", "'s", "'\u017F"});
  CHECK(matches("a.b", "a\nb").empty());
  CHECK(matches("(?m:a.b)", "a\nb") == Texts{"a\nb"});
  CHECK(matches("a(?i)b|c", "aB C ac") == Texts{"aB", "ac"});
  CHECK(matches("(?:(?i)b)c", "Bc BC") == Texts{"Bc"});
  CHECK(matches("^b$", "a\nb\nc") == Texts{"b"});
  CHECK(matches("a(?#remark)b", "ab") == Texts{"ab"});
}

TEST_CASE("empty matches stand between code points, never directly behind a match") {
  const Pattern pattern({PatternKind::kRegex, "b*"});
  CHECK(pattern.replace("éabb", "-") == "-é-a-");
  CHECK(Pattern({PatternKind::kLiteral, ""}).replace("éa", "-") == "-é-a-");
}

TEST_CASE("a literal is no expression") {
  CHECK(Pattern({PatternKind::kLiteral, "a.b|"}).replace("aXb a.b|", "-") == "aXb -");
  CHECK(Pattern({PatternKind::kLiteral, "aa"}).replace("aaaaa", "b") == "bba");
}

TEST_CASE("runs that need a deep stack are matched all the same") {
  const std::string many(2'000'000, 'a');
  CHECK(matches("(?:a|b)+c?", many) == Texts{many});
  const std::string spaces(1'000'000, ' ');
  CHECK(matches(R"(\s+(?!\S)|\s+)", spaces + "x") == Texts{spaces.substr(1), " "});
}

TEST_CASE("what PCRE2 cannot express is refused with the expression and the reason") {
  CHECK(refusal(R"((?~ab))").find("found the group (?~ in '(?~ab)'") != std::string::npos);
  CHECK(refusal(R"(\p{Nonsense})").find("unknown character property 'Nonsense'") !=
        std::string::npos);
  CHECK(refusal("(a").find("( without )") != std::string::npos);
  CHECK(refusal("a)").find(") without (") != std::string::npos);
  CHECK(refusal("[a").find("[ without ]") != std::string::npos);
  CHECK(refusal("*a").find("correct the expression") != std::string::npos);
  CHECK(refusal("a\\").find("a backslash at the end") != std::string::npos);
}

}  // namespace mopt::text
