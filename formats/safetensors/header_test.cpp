#include "header.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <cstring>
#include <random>

#include "tests/json.hpp"

namespace {

using mopt::safetensors::Header;
using mopt::safetensors::parse_header;

std::string image(const std::string& json, size_t data_bytes) {
  const uint64_t n = json.size();
  std::string out(8, '\0');
  std::memcpy(out.data(), &n, 8);
  return out + json + std::string(data_bytes, '\x11');
}

Header parse(const std::string& bytes) {
  return parse_header({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()},
                      "m.safetensors");
}

// The sentence of the refusal; fails the test when there is none.
std::string refusal(const std::string& bytes) {
  try {
    parse(bytes);
  } catch (const mopt::Error& e) {
    CHECK((e.code() == MOPT_DATA_LOSS || e.code() == MOPT_UNSUPPORTED));
    return e.what();
  }
  FAIL_CHECK("it was accepted");
  return {};
}

constexpr const char* kTwo =
    R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},)"
    R"("a":{"data_offsets":[0,4],"shape":[],"dtype":"F32"}}   )";

TEST_CASE("a header is read in the order of its data, with offsets from the start of the file") {
  const std::string bytes = image(kTwo, 16);
  const Header header = parse(bytes);
  REQUIRE(header.tensors.size() == 2);
  CHECK(header.tensors[0].name == "a");
  CHECK(header.tensors[0].ndim == 0);
  CHECK(header.tensors[1].name == "b");
  CHECK(header.tensors[1].dtype->name == "BF16");
  const auto shape = header.shape(header.tensors[1]);
  CHECK(std::vector<int64_t>(shape.begin(), shape.end()) == std::vector<int64_t>{2, 3});
  CHECK(header.tensors[1].begin == bytes.size() - 12);
  CHECK(header.tensors[1].end == bytes.size());
  CHECK(header.metadata == R"({"format":"pt"})");
}

TEST_CASE("empty files, empty tensors and escaped names are legal") {
  CHECK(parse(image("{}", 0)).tensors.empty());
  CHECK(parse(image("{} \n ", 0)).metadata == "{}");
  const Header header =
      parse(image(R"({"x":{"dtype":"U8","shape":[0,9],"data_offsets":[0,0]},)"
                  R"("\u00e9\ud83d\ude00\n\"é":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}})",
                  1));
  REQUIRE(header.tensors.size() == 2);
  CHECK(header.tensors[1].name == "\xC3\xA9\xF0\x9F\x98\x80\n\"\xC3\xA9");
}

TEST_CASE("every broken rule of the format is refused with a sentence that names it") {
  const auto one = [](const std::string& dtype, const std::string& shape,
                      const std::string& offsets) {
    return R"({"w":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" +
           offsets + "}}";
  };
  struct Case {
    std::string bytes;
    const char* says;
  };
  const Case cases[] = {
      {"", "at least 8 bytes"},
      {std::string(8, '\0'), "a header of 2 to 0 bytes"},
      {std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10), "at most 100000000"},
      {image("{}", 0).substr(0, 9), "header of 2 to 1 bytes"},
      {image(" {}", 0), "'{' as the first byte"},
      {image("[]", 0), "'{' as the first byte"},
      {image("{}x", 0), "nothing but spaces"},
      {image("{}", 1), "expected 10 bytes, found 11"},
      {image(one("F32", "[2]", "[0,8]"), 7), "within the 7 bytes"},
      {image(one("F32", "[2]", "[0,8]"), 9), "found "},
      {image(one("F32", "[2]", "[0,7]"), 7), "expected 64 bits"},
      {image(one("F4", "[3]", "[0,1]"), 1), "expected 12 bits"},
      {image(one("F32", "[2]", "[8,0]"), 8), "data_offsets within"},
      {image(one("F32", "[2]", "[4,12]"), 12), "a gap up to 4"},
      {image(one("F33", "[2]", "[0,8]"), 8), "found 'F33'"},
      {image(one("F32", "[-2]", "[0,8]"), 8), "non-negative integer in a shape"},
      {image(one("F32", "[2.0]", "[0,8]"), 8), "',' or ']' in a shape"},
      {image(one("F32", "[02]", "[0,8]"), 8), "leading zeros"},
      {image(one("F32", "[2", "[0,8]"), 8), "integer in a shape"},
      {image(one("F32", "[99999999999999999999]", "[0,8]"), 8), "below 2^64"},
      {image(one("F32", "[9999999999999999999]", "[0,8]"), 8), "below 2^63"},
      {image(one("U8", "[4294967296,4294967296]", "[0,0]"), 0), "fewer than 2^63 bits"},
      {image(one("U8", "[0,4294967296,4294967296]", "[0,0]"), 0), "fewer than 2^63 bits"},
      {image(one("F32", "[2]", "[0,8,8]"), 8), "exactly two offsets"},
      {image(one("F32", "[2]", "[0]"), 8), "two offsets"},
      {image(R"({"w":{"dtype":"U8","shape":[1]}})", 1), "found only some"},
      {image(R"({"w":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1),
       "once each"},
      {image(R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}})", 1), "found 'x'"},
      {image(R"({"w":7})", 1), "an object that describes"},
      {image(R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
             R"("w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
             2),
       "every name once"},
      {image(R"({"v":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
             R"("w":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
             3),
       "an overlap from 1"},
      {image(R"({"__metadata__":{"a":1}})", 0), "a string as the value"},
      {image(R"({"__metadata__":{"a":"1","a":"2"}})", 0), "found 'a' twice"},
      {image(R"({"__metadata__":{},"__metadata__":{}})", 0), "found a second"},
      {image(R"({"__metadata__":[]})", 0), "an object as '__metadata__'"},
      {image("{\"\xC0\xAF\":{}}", 0), "UTF-8"},
      {image("{\"\xED\xA0\x80\":{}}", 0), "UTF-8"},
      {image("{\"\\ud800x\":{}}", 0), "surrogate"},
      {image("{\"\\udc00\":{}}", 0), "surrogate"},
      {image("{\"\\x\":{}}", 0), "an escape sequence"},
      {image("{\"a\nb\":{}}", 0), "control characters"},
      {image(R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},})", 1), "a tensor's name"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.says);
    const std::string sentence = refusal(c.bytes);
    CAPTURE(sentence);
    CHECK(sentence.find(c.says) != std::string::npos);
    CHECK(sentence.starts_with("m.safetensors: "));
    CHECK(sentence.find("expected") != std::string::npos);
    CHECK(sentence.find("; ") != std::string::npos);
  }
}

TEST_CASE("every proper beginning of a file is refused") {
  const std::string bytes = image(kTwo, 16);
  for (size_t n = 0; n < bytes.size(); ++n) {
    CAPTURE(n);
    CHECK_FALSE(refusal(bytes.substr(0, n)).empty());
  }
}

TEST_CASE("a damaged header is refused, or is JSON whose tensors tile the data") {
  const std::string good = image(kTwo, 16);
  const size_t data = good.size() - 16;
  std::mt19937 random(7);
  size_t accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = good;
    for (int edit = 0; edit <= round % 3; ++edit) {
      const size_t at = random() % data;
      const bool copy = random() % 2 == 0;
      bytes[at] = copy ? good[8 + random() % (data - 8)] : static_cast<char>(random());
    }
    try {
      const Header header = parse(bytes);
      uint64_t n = 0;
      std::memcpy(&n, bytes.data(), 8);
      CHECK(nlohmann::json::accept(bytes.substr(8, n)));
      uint64_t at = 8 + n;
      for (const auto& entry : header.tensors) {
        CHECK(entry.begin == at);
        at = entry.end;
      }
      CHECK(at == bytes.size());
      ++accepted;
    } catch (const mopt::Error& e) {
      CHECK(std::string(e.what()).size() > 40);
    }
  }
  CHECK(accepted > 0);
  CHECK(accepted < 20000);
}

TEST_CASE("half a million tensors are read in under three seconds") {
  std::string json = "{";
  for (int i = 0; i < 500'000; ++i) {
    json += (i == 0 ? "\"" : ",\"");
    json += "model.layers." + std::to_string(i / 1000) + ".mlp.experts." + std::to_string(i) +
            R"(.gate.weight":{"dtype":"U8","shape":[1,1],"data_offsets":[)" + std::to_string(i) +
            "," + std::to_string(i + 1) + "]}";
  }
  const std::string bytes = image(json + "}", 500'000);
  const auto start = std::chrono::steady_clock::now();
  CHECK(parse(bytes).tensors.size() == 500'000);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  MESSAGE("500,000 tensors in " << seconds.count() << " s");
  CHECK(seconds.count() < 3.0);
}

}  // namespace
