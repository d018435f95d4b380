#include "blocks.hpp"

#include <doctest/doctest.h>

#include <bit>

#include "decode.hpp"
#include "tests/golden.hpp"
#include "types.hpp"

namespace {

using mopt::gguf::Type;

const Type* type_named(const std::string& name) {
  for (uint32_t id = 0; id < 64; ++id) {
    const Type* type = mopt::gguf::find_type(id);
    if (type != nullptr && type->name == name) return type;
  }
  return nullptr;
}

// Every `<matrix>.bytes` of a golden file against `<matrix>.dequant`, bit for bit.
int check_file(const std::string& file, const std::string& only_type) {
  const std::string path = mopt::test::golden("codec/" + file);
  if (path.empty()) {
    MESSAGE("skipped: no golden data");
    return 0;
  }
  int compared = 0;
  const mopt::test::Tensors tensors = mopt::test::read_safetensors(path);
  for (const auto& [name, stored] : tensors) {
    const size_t dot = name.rfind(".bytes");
    if (dot == std::string::npos) continue;
    const std::string matrix = name.substr(0, dot);
    const Type* type = type_named(only_type.empty() ? matrix : only_type);
    REQUIRE(type != nullptr);
    if (type->decode == nullptr) continue;
    CAPTURE(name);
    const auto expected = tensors.at(matrix + ".dequant").as<float>();
    const auto* bytes = reinterpret_cast<const uint8_t*>(stored.bytes.data());
    const auto n = static_cast<int64_t>(expected.size());
    REQUIRE(n / type->block_elements * type->block_bytes ==
            static_cast<int64_t>(stored.bytes.size()));
    std::vector<float> got(expected.size());
    type->decode(bytes, n / type->block_elements, got.data());
    std::vector<uint16_t> bf16(expected.size()), fp16(expected.size());
    mopt::gguf::decode(*type, bytes, n, mopt::kBf16, reinterpret_cast<std::byte*>(bf16.data()));
    mopt::gguf::decode(*type, bytes, n, mopt::kF16, reinterpret_cast<std::byte*>(fp16.data()));
    for (size_t i = 0; i < expected.size(); ++i) {
      CAPTURE(i);
      REQUIRE(std::bit_cast<uint32_t>(got[i]) == std::bit_cast<uint32_t>(expected[i]));
      REQUIRE(bf16[i] == mopt::bf16::encode(expected[i]));
      REQUIRE(fp16[i] == mopt::fp16::encode(expected[i]));
    }
    ++compared;
  }
  return compared;
}

TEST_CASE("blocks that the original wrote decode to its own float32, bit for bit") {
  for (const char* type : {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "BF16"}) {
    CAPTURE(type);
    const std::string file = std::string("gguf_") + type + ".safetensors";
    if (check_file(file, type) == 0) CHECK(mopt::test::golden("codec/" + file).empty());
  }
}

TEST_CASE("random blocks decode to the original's float32, bit for bit") {
  const std::string file = "gguf_dequant_random_bytes.safetensors";
  const int compared = check_file(file, {});
  CHECK((compared == 7 || mopt::test::golden("codec/" + file).empty()));
}

TEST_CASE("every fifth bit of Q5 reaches its own element and no other") {
  for (uint32_t bit = 0; bit < 32; ++bit) {
    uint8_t block[22] = {0x00, 0x3C};  // d = 1, all nibbles 0
    const uint32_t high = 1u << bit;
    std::memcpy(block + 2, &high, 4);
    float out[32];
    mopt::gguf::decode_q5_0(block, 1, out);
    for (uint32_t j = 0; j < 32; ++j)
      CHECK(out[j] == (j == bit ? 0.0f : -16.0f));
  }
}

TEST_CASE("block geometry is the one of the format's table") {
  // name, elements, bytes: bits per weight as llama.cpp prints them.
  const std::tuple<const char*, double> rows[] = {
      {"Q4_0", 4.5},   {"Q4_1", 5},      {"Q5_0", 5.5}, {"Q5_1", 6},   {"Q8_0", 8.5},
      {"Q2_K", 2.625}, {"Q3_K", 3.4375}, {"Q4_K", 4.5}, {"Q5_K", 5.5}, {"Q6_K", 6.5625},
      {"MXFP4", 4.25}, {"NVFP4", 4.5},   {"F32", 32},   {"F16", 16},   {"BF16", 16}};
  for (const auto& [name, bits] : rows) {
    CAPTURE(name);
    const Type* type = type_named(name);
    REQUIRE(type != nullptr);
    CHECK(8.0 * static_cast<double>(type->block_bytes) /
              static_cast<double>(type->block_elements) ==
          bits);
    CHECK(mopt::gguf::kPiece % type->block_elements == 0);
  }
}

}  // namespace
