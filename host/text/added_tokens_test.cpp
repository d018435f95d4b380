#include "host/text/added_tokens.hpp"

#include <doctest/doctest.h>

namespace mopt::text {
namespace {

Bpe model() {
  BpeSpec spec;
  spec.vocab = {{"a", 0}, {"b", 1}, {"c", 2}};
  return Bpe(spec);
}

// "text|<id>|text"
std::string split(const std::vector<AddedToken>& tokens, std::string_view text,
                  Pass pass = Pass::kRaw, std::vector<NormalizerStep> steps = {}) {
  const Normalizer normalizer(std::move(steps));
  const AddedTokens added(tokens, model(), normalizer);
  std::string out;
  for (const Segment& segment : added.split(text, pass)) {
    if (!out.empty()) out += '|';
    if (segment.id) {
      out.append("<").append(std::to_string(*segment.id)).append(">");
    } else {
      out += text.substr(segment.range.begin, segment.range.size());
    }
  }
  return out;
}

AddedToken raw(const std::string& content) {
  AddedToken token;
  token.content = content;
  token.normalized = false;
  return token;
}

}  // namespace

TEST_CASE("ids: the vocabulary's own, else the next free one in the order of the list") {
  const AddedTokens added({raw("x"), raw("b"), raw("y"), raw("x")}, model(), Normalizer({}));
  CHECK(added.id("x") == 3);
  CHECK(added.id("b") == 1);
  CHECK(added.id("y") == 4);
  CHECK_FALSE(added.id("z"));
  CHECK(added.end_id() == 5);
}

TEST_CASE("the longest token at the leftmost place wins") {
  CHECK(split({raw("xy"), raw("xyz"), raw("yzzz")}, "axyzzzxy") == "a|<4>|zz|<3>");
  CHECK(split({raw("xx")}, "xxxxx") == "<3>|<3>|x");
  CHECK(split({raw("xy"), raw("xyzzz")}, "xyzz") == "<3>|zz");
  CHECK(split({raw("x")}, "") == "");
  CHECK(split({raw("")}, "ab") == "ab");
}

TEST_CASE("lstrip and rstrip swallow white space that no token before has taken") {
  AddedToken left = raw("<l>"), right = raw("<r>");
  left.lstrip = true;
  right.rstrip = true;
  CHECK(split({left}, "a \n\u3000<l> b") == "a|<3>| b");
  CHECK(split({right}, "a <r> \u0085b") == "a |<3>|b");
  CHECK(split({left, right}, "<r>  <l>") == "<4>|<3>");
  CHECK(split({left}, "  <l>") == "<3>");
}

TEST_CASE("a single word stands alone between characters that are no word characters") {
  AddedToken word = raw("cat");
  word.single_word = true;
  CHECK(split({word}, "cat concat cat\u0301 (cat) cats_ écat") ==
        "<3>| concat cat\u0301 (|<3>|) cats_ écat");
  CHECK(split({word}, "catcat cat") == "catcat |<3>");
}

TEST_CASE("a normalized token is sought by its normalized content in the second pass") {
  AddedToken token;
  token.content = "My";
  CHECK(split({token}, "xMymy", Pass::kNormalized, {Lowercase{}}) == "xMy|<3>");
  CHECK(split({token}, "My", Pass::kRaw) == "My");
}

}  // namespace mopt::text
