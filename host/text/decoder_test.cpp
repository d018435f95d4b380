#include "host/text/decoder.hpp"

#include <doctest/doctest.h>

#include <set>

#include "host/text/byte_alphabet.hpp"
#include "host/text/unicode.hpp"

namespace mopt::text {
namespace {

std::string decoded(std::vector<DecoderStep> steps, std::vector<std::string> tokens) {
  return Decoder(std::move(steps)).apply(std::move(tokens));
}

}  // namespace

TEST_CASE("the byte alphabet is one to one, and printable ASCII stands for itself") {
  std::set<std::string> seen;
  for (size_t byte = 0; byte < 256; ++byte) {
    const std::string& spelled = byte_alphabet()[byte];
    seen.insert(spelled);
    CHECK(alphabet_byte(code_point(spelled, 0)) == static_cast<uint8_t>(byte));
    if (byte > 32 && byte < 127) CHECK(spelled == std::string(1, static_cast<char>(byte)));
  }
  CHECK(seen.size() == 256);
  CHECK(byte_alphabet()[0x20] == "Ġ");
  CHECK(byte_alphabet()[0x0A] == "Ċ");
  CHECK(byte_alphabet()[0xAD] == "\u0143");
  CHECK_FALSE(alphabet_byte(0x144));
  CHECK_FALSE(alphabet_byte(' '));
}

TEST_CASE("a token with a character outside the alphabet stands for its own text") {
  CHECK(decoded({BytesFromLevel{}}, {"Ġa", "<|x y|>", "Ã", "©"}) == " a<|x y|>é");
  CHECK(decoded({BytesFromLevel{}}, {"Ã", "a"}) == "\uFFFDa");
}

TEST_CASE("byte tokens are joined; a run that is no UTF-8 gives one U+FFFD for each byte") {
  CHECK(decoded({ByteFallback{}}, {"<0xC3>", "<0xA9>", "a"}) == "éa");
  CHECK(decoded({ByteFallback{}}, {"<0xC3>", "<0xA9>", "<0xff>"}) == "\uFFFD\uFFFD\uFFFD");
  CHECK(decoded({ByteFallback{}}, {"<0x4>", "<0x4G>", "<0x+A>"}) == "<0x4><0x4G>\n");
}

TEST_CASE("strip takes at most as many characters as it says, per token or behind fuse") {
  CHECK(decoded({Strip{" ", 1, 2}}, {"  a  ", " b   "}) == " ab ");
  CHECK(decoded({Fuse{}, Strip{" ", 1, 0}}, {"  a", " b"}) == " a b");
  CHECK(decoded({Strip{" ", 1, 1}}, {" "}) == "");
}

TEST_CASE("metaspace gives spaces, and none for the first token unless it never prepends") {
  CHECK(decoded({MetaspaceToSpace{"▁", PrependScheme::kAlways}}, {"▁Hey", "▁friend!"}) ==
        "Hey friend!");
  CHECK(decoded({MetaspaceToSpace{"▁", PrependScheme::kNever}}, {"▁Hey"}) == " Hey");
}

}  // namespace mopt::text
