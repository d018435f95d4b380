#include "container.hpp"

#include <doctest/doctest.h>

#include <random>

#include "gguf_image_test.hpp"
#include "tests/json.hpp"

namespace {

using mopt::gguf::Container;
using mopt::gguf::parse_container;
using mopt::test::gguf_string;
using mopt::test::GgufImage;
using mopt::test::raw;

Container parse(const std::string& bytes) {
  return parse_container({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, "m.gguf");
}

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

GgufImage small() {
  GgufImage image;
  image.text("general.architecture", "llama");
  image.u32("llama.block_count", 2);
  image.f32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  image.flag("tokenizer.ggml.add_bos_token", 1);
  image.texts("tokenizer.ggml.tokens", {"a", "b\n", ""});
  image.i32s("tokenizer.ggml.token_type", {1, -3});
  image.entry("big", 10, raw<uint64_t>(1));
  image.tensors = {{"a.weight", {3}, 0, std::string(12, 'a')},
                   {"b.weight", {32, 2}, 2, std::string(36, 'b')},
                   {"c.weight", {1, 1, 1, 2}, 30, std::string(4, 'c')}};
  return image;
}

TEST_CASE(
    "a container shows keys, shapes in row-major order and offsets from the start of the file") {
  for (const uint64_t alignment : {uint64_t{32}, uint64_t{8}, uint64_t{256}}) {
    GgufImage image = small();
    image.alignment = alignment;
    const std::string bytes = image.build();
    const Container c = parse(bytes);
    REQUIRE(c.tensors.size() == 3);
    CHECK(c.tensors[1].shape == std::vector<int64_t>{2, 32});
    CHECK(c.tensors[2].shape == std::vector<int64_t>{2, 1, 1, 1});
    CHECK(c.tensors[0].offset == image.data_at);
    for (const auto& t : c.tensors) {
      CHECK(bytes.substr(t.offset, t.nbytes) == std::string(t.nbytes, t.name[0]));
    }
    CHECK(c.metadata.text("general.architecture") == "llama");
    CHECK(c.metadata.integer("llama.block_count") == 2);
    CHECK(c.metadata.number("llama.attention.layer_norm_rms_epsilon") == 1e-5);
    CHECK(c.metadata.flag("tokenizer.ggml.add_bos_token") == true);
    CHECK(c.metadata.texts("tokenizer.ggml.tokens") ==
          std::vector<std::string_view>{"a", "b\n", ""});
    CHECK(c.metadata.integers("tokenizer.ggml.token_type") == std::vector<int64_t>{1, -3});
    CHECK_FALSE(c.metadata.integer("absent").has_value());
    CHECK_THROWS_WITH_AS(c.metadata.text("llama.block_count"),
                         doctest::Contains("expected a string as 'llama.block_count', found u32"),
                         mopt::Error);
  }
}

TEST_CASE("metadata is JSON, with long arrays as their type and count") {
  GgufImage image = small();
  image.i32s("long", std::vector<int32_t>(17, 4));
  image.entry("negative", 11, raw<int64_t>(-5));
  image.text("broken", "\xFF");
  const std::string bytes = image.build();
  const auto json = mopt::test::parse_json(parse(bytes).metadata.json());
  CHECK(json["general.architecture"] == "llama");
  CHECK(json["tokenizer.ggml.tokens"] == nlohmann::json({"a", "b\n", ""}));
  CHECK(json["long"] == nlohmann::json({{"type", "i32"}, {"count", 17}}));
  CHECK(json["negative"] == -5);
  CHECK(json["broken"] == "\xEF\xBF\xBD");
}

TEST_CASE("version 2, files without padding at the end and empty files are legal") {
  GgufImage image = small();
  image.version = 2;
  const std::string bytes = image.build();
  CHECK(parse(bytes).tensors.size() == 3);
  CHECK(parse(bytes.substr(0, bytes.size() - 28)).tensors.size() == 3);
  CHECK(parse(GgufImage().build()).tensors.empty());
}

TEST_CASE("every broken rule of the format is refused with a sentence that names it") {
  struct Case {
    void (*change)(GgufImage&);
    const char* says;
  };
  const Case cases[] = {
      {[](GgufImage& i) { i.version = 1; }, "expected GGUF version 2 or 3, found 1"},
      {[](GgufImage& i) { i.version = 0x03000000; }, "big-endian"},
      {[](GgufImage& i) { i.entry("x", 13, ""); }, "a value type below 13 for 'x', found 13"},
      {[](GgufImage& i) { i.u32("big", 1); }, "found 'big' twice"},
      {[](GgufImage& i) { i.flag("x", 2); }, "0 or 1 as bool 'x', found 2"},
      {[](GgufImage& i) { i.entry("x", 9, raw<uint32_t>(9) + raw<uint64_t>(0)); }, "one of arrays"},
      {[](GgufImage& i) { i.entry("x", 9, raw<uint32_t>(4) + raw<uint64_t>(~0ull)); },
       "elements in 'x'"},
      {[](GgufImage& i) { i.entry("x", 9, raw<uint32_t>(8) + raw<uint64_t>(~0ull)); },
       "the end of the file"},
      {[](GgufImage& i) { i.entry("x", 8, raw<uint64_t>(1ull << 63)); }, "the end of the file"},
      {[](GgufImage& i) { i.u32("general.alignment", 24); }, "a power of two"},
      {[](GgufImage& i) { i.u32("general.alignment", 0); }, "a power of two"},
      {[](GgufImage& i) { i.text("general.alignment", "32"); }, "expected an integer"},
      {[](GgufImage& i) { i.tensors[1].name = "a.weight"; }, "its name once"},
      {[](GgufImage& i) { i.tensors[0].name = std::string(64, 'n'); }, "1 to 63 bytes, found 64"},
      {[](GgufImage& i) { i.tensors[0].name = ""; }, "1 to 63 bytes, found 0"},
      {[](GgufImage& i) { i.tensors[0].ne = {}; }, "1 to 4 dimensions, found 0"},
      {[](GgufImage& i) {
         i.tensors[0].ne = {3, 1, 1, 1, 1};
       },
       "1 to 4 dimensions, found 5"},
      {[](GgufImage& i) { i.tensors[0].ne = {-3}; }, "non-negative dimensions"},
      {[](GgufImage& i) {
         i.tensors[0].ne = {1ll << 40, 1ll << 40};
       },
       "product below 2^57"},
      {[](GgufImage& i) {
         i.tensors[0].ne = {1ll << 40, 1ll << 40, 0};
       },
       "product below 2^57"},
      {[](GgufImage& i) { i.tensors[0].ne = {1ll << 40}; }, "a shape that fits into the file"},
      {[](GgufImage& i) { i.tensors[0].type = 4; }, "found number 4"},
      {[](GgufImage& i) { i.tensors[0].type = 2; }, "rows of whole blocks of 32"},
      {[](GgufImage& i) { i.tensors[0].ne = {30}; }, "after the tensor before it"},
      {[](GgufImage& i) {
         i.tensors[2].ne = {1, 1, 1, 200};
       },
       "a file of at least"},
      {[](GgufImage& i) { i.tensors[2].bytes += std::string(40, 'x'); }, "expected at most"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.says);
    GgufImage image = small();
    c.change(image);
    const std::string sentence = refusal(image.build());
    CAPTURE(sentence);
    CHECK(sentence.find(c.says) != std::string::npos);
    CHECK(sentence.starts_with("m.gguf: "));
    CHECK(sentence.find("expected") != std::string::npos);
    CHECK(sentence.find("; ") != std::string::npos);
  }
}

TEST_CASE("counts that the file cannot hold are refused before anything is allocated") {
  const std::string good = small().build();
  for (const size_t at : {size_t{8}, size_t{16}}) {
    for (const int64_t n : {int64_t{1} << 62, int64_t{-1}, static_cast<int64_t>(good.size())}) {
      std::string bytes = good;
      std::memcpy(bytes.data() + at, &n, 8);
      CHECK(refusal(bytes).find("in a file of this size") != std::string::npos);
    }
  }
}

TEST_CASE("every proper beginning of a file is refused, up to the padding of the last tensor") {
  const std::string bytes = small().build();
  for (size_t n = 0; n < bytes.size() - 28; ++n) {
    CAPTURE(n);
    CHECK_FALSE(refusal(bytes.substr(0, n)).empty());
  }
}

TEST_CASE("a damaged file is refused, or its tensors lie inside it") {
  GgufImage image = small();
  const std::string good = image.build();
  std::mt19937 random(11);
  size_t accepted = 0;
  for (int round = 0; round < 30000; ++round) {
    std::string bytes = good;
    for (int edit = 0; edit <= round % 3; ++edit) {
      const size_t at = random() % image.data_at;
      bytes[at] = random() % 3 == 0
                      ? '\xFF'
                      : static_cast<char>(random() % 2 == 0 ? random() : bytes[at] + 1);
    }
    try {
      const Container c = parse(bytes);
      for (const auto& t : c.tensors) {
        CHECK(t.offset + t.nbytes <= bytes.size());
        CHECK(t.offset >= 24);
      }
      CHECK(nlohmann::json::accept(c.metadata.json()));
      ++accepted;
    } catch (const mopt::Error& e) {
      CHECK(std::string(e.what()).size() > 40);
    }
  }
  CHECK(accepted > 0);
  CHECK(accepted < 30000);
}

}  // namespace
