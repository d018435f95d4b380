#include "reader.hpp"

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <fstream>

#include "tests/fake_host.hpp"
#include "tests/golden.hpp"
#include "tests/temp_directory.hpp"

namespace {

using mopt::safetensors::Reader;
using mopt::test::TempDir;

std::string image(const std::string& json, const std::string& data) {
  const uint64_t n = json.size();
  std::string out(8, '\0');
  std::memcpy(out.data(), &n, 8);
  return out + json + data;
}
std::string one(const std::string& name, uint8_t value) {
  return image("{\"" + name + R"(":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
               std::string(1, static_cast<char>(value)));
}
std::string index(const std::string& map) {
  return R"({"metadata":{"total_size":2,"x":[1,{}]},"weight_map":)" + map + "}";
}

struct Fixture {
  mopt::test::FakeHost host;
  TempDir dir;
  Reader open(const std::string& path) { return {mopt::Host(host.host()), path}; }
  std::string refusal(const std::string& path, mopt_code code) {
    try {
      open(path);
    } catch (const mopt::Error& e) {
      CHECK(e.code() == code);
      return e.what();
    }
    FAIL_CHECK("it was accepted");
    return {};
  }
  std::vector<float> read_f32(const Reader& reader, size_t i, int64_t begin, int64_t end,
                              std::vector<int64_t> shape) {
    std::vector<float> out(static_cast<size_t>(mopt::elements(shape)));
    mopt::TensorRef target(out.data(), mopt::kF32, shape);
    reader.read(mopt::Exec(host.exec()), i, begin, end, *target.get());
    return out;
  }
};

TEST_CASE_FIXTURE(Fixture, "golden files are presented as an independent reader sees them") {
  const std::string path = mopt::test::golden("codec/gguf_Q4_0.safetensors");
  if (path.empty()) {
    MESSAGE("skipped: no golden data");
    return;
  }
  const auto expected = mopt::test::read_safetensors(path);
  const Reader reader = open(path);
  REQUIRE(reader.count() == expected.size());
  for (size_t i = 0; i < reader.count(); ++i) {
    const mopt_stored_tensor t = reader.tensor(i);
    const auto& e = expected.at(std::string(mopt::view(t.name)));
    CHECK(mopt::view(t.encoding) == e.dtype);
    CHECK(std::vector<int64_t>(t.shape, t.shape + t.ndim) == e.shape);
    CHECK(std::string_view(static_cast<const char*>(t.data), t.nbytes) == e.bytes);
    CHECK(t.plain == 1);
    mopt::test::Blob copy = mopt::test::blob(t.dtype, e.shape);
    mopt::TensorRef target = copy.ref();
    reader.read(mopt::Exec(host.exec()), i, 0, e.shape[0], *target.get());
    CHECK(copy.bytes == e.bytes);
  }
}

TEST_CASE_FIXTURE(Fixture, "floats are read as float32 in any range of rows") {
  // 1, -2 | 0.5, inf in bf16, then the same values in f16 and f64.
  const uint16_t bf16[] = {0x3F80, 0xC000, 0x3F00, 0x7F80};
  const uint16_t f16[] = {0x3C00, 0xC000, 0x3800, 0x7C00};
  const double f64[] = {1, -2, 0.5, HUGE_VAL};
  std::string data(reinterpret_cast<const char*>(f64), 32);
  data.append(reinterpret_cast<const char*>(bf16), 8).append(reinterpret_cast<const char*>(f16), 8);
  const Reader reader = open(dir.write(
      "m.safetensors", image(R"({"a":{"dtype":"F64","shape":[2,2],"data_offsets":[0,32]},)"
                             R"("b":{"dtype":"BF16","shape":[2,2],"data_offsets":[32,40]},)"
                             R"("c":{"dtype":"F16","shape":[2,2],"data_offsets":[40,48]}})",
                             data)));
  for (size_t i = 0; i < 3; ++i) {
    CHECK(read_f32(reader, i, 0, 2, {2, 2}) == std::vector<float>{1, -2, 0.5f, HUGE_VALF});
    CHECK(read_f32(reader, i, 1, 2, {1, 2}) == std::vector<float>{0.5f, HUGE_VALF});
    CHECK(read_f32(reader, i, 2, 2, {0, 2}).empty());
    CHECK_THROWS_WITH_AS(read_f32(reader, i, 1, 3, {2, 2}),
                         doctest::Contains("rows within [0, 2), found [1, 3)"), mopt::Error);
    CHECK_THROWS_WITH_AS(read_f32(reader, i, 0, 2, {1, 2}),
                         doctest::Contains("room for 4 elements"), mopt::Error);
  }
}

TEST_CASE_FIXTURE(Fixture, "an integer is not read as a float") {
  const Reader reader = open(dir.write("m.safetensors", one("w", 7)));
  CHECK_THROWS_WITH_AS(read_f32(reader, 0, 0, 1, {1}), doctest::Contains("expected U8"),
                       mopt::Error);
  CHECK_THROWS_WITH_AS(reader.tensor(1), doctest::Contains("index below 1"), mopt::Error);
}

TEST_CASE_FIXTURE(Fixture, "a tensor that its file did not align is readable and not plain") {
  const float value = 3.25f;
  const Reader reader = open(
      dir.write("m.safetensors", image(R"({"w":{"dtype":"F32","shape":[],"data_offsets":[0,4]}} )",
                                       std::string(reinterpret_cast<const char*>(&value), 4))));
  REQUIRE(reader.tensor(0).offset % 4 != 0);
  CHECK(reader.tensor(0).plain == 0);
  CHECK(read_f32(reader, 0, 0, 1, {}) == std::vector<float>{value});
}

TEST_CASE_FIXTURE(Fixture, "a directory with an index is one checkpoint with its side files") {
  dir.write("s1.safetensors", image(R"({"__metadata__":{"format":"pt"}})", ""));
  dir.write("s1.safetensors", one("a", 1));
  dir.write("sub/s2.safetensors", one("b", 2));
  dir.write("other.safetensors", one("c", 3));
  dir.write("config.json", "{}\n");
  dir.write("model.safetensors.index.json",
            index(R"({"b":"sub/s2.safetensors","a":"s1.safetensors"})"));
  const Reader reader = open(dir.path());
  REQUIRE(reader.count() == 2);
  CHECK(reader.n_files() == 2);
  CHECK(mopt::view(reader.tensor(0).name) == "a");
  CHECK(*static_cast<const uint8_t*>(reader.tensor(1).data) == 2);
  CHECK(reader.file(reader.tensor(1).file).ends_with("sub/s2.safetensors"));
  CHECK(reader.document("config.json") == "{}\n");
  CHECK(reader.document("tokenizer.json").empty());
  CHECK(reader.document("../config.json").empty());
  CHECK(reader.document("..").empty());
  CHECK(host.warnings.empty());
}

TEST_CASE_FIXTURE(Fixture, "tensors that the index leaves out are read with a warning") {
  dir.write("s.safetensors", image(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                   R"("b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                                   "xy"));
  dir.write("model.safetensors.index.json", index(R"({"a":"s.safetensors"})"));
  CHECK(open(dir.path()).count() == 2);
  REQUIRE(host.warnings.size() == 1);
  CHECK(host.warnings[0].find("1 tensors stand in the files and not in") != std::string::npos);
}

TEST_CASE_FIXTURE(Fixture, "an index that lies is refused") {
  dir.write("s1.safetensors", one("a", 1));
  dir.write("s2.safetensors", one("a", 2));
  TempDir elsewhere;
  const std::string outside = elsewhere.write("o.safetensors", one("a", 1));
  struct Case {
    std::string text;
    mopt_code code;
    const char* says;
  };
  const Case cases[] = {
      {index(R"({"a":"../o.safetensors"})"), MOPT_OUTSIDE, "in a file of this directory"},
      {index("{\"a\":\"" + outside + "\"}"), MOPT_OUTSIDE, "in a file of this directory"},
      {index(R"({"a":"sub/../../o.safetensors"})"), MOPT_OUTSIDE, "in a file of this directory"},
      {index(R"({"a":""})"), MOPT_OUTSIDE, "in a file of this directory"},
      {index(R"({"a":"s3.safetensors"})"), MOPT_NOT_FOUND, "found nothing"},
      {index(R"({"a":"s1.safetensors","b":"s1.safetensors"})"), MOPT_DATA_LOSS, "found nowhere"},
      {index(R"({"a":"s1.safetensors","b":"s2.safetensors"})"), MOPT_DATA_LOSS,
       "expected in one file"},
      {index(R"({"a":"s1.safetensors","a":"s1.safetensors"})"), MOPT_DATA_LOSS, "found twice"},
      {index(R"({"a":1})"), MOPT_DATA_LOSS, "tensor 'a': expected a file name"},
      {index(R"({"a":{}})"), MOPT_DATA_LOSS, "tensor 'a': expected a file name"},
      {index("[]"), MOPT_DATA_LOSS, "an object as 'weight_map'"},
      {R"({"weight_map":{},"weight_map":{}})", MOPT_DATA_LOSS, "'weight_map' twice"},
      {R"({"x":[1,},"weight_map":{}})", MOPT_DATA_LOSS, "expected a JSON value"},
      {R"({"x":[[[,"weight_map":{}})", MOPT_DATA_LOSS, "expected a JSON value"},
      {R"({"x":}, "weight_map":{}})", MOPT_DATA_LOSS, "expected a JSON value"},
      {"{}", MOPT_DATA_LOSS, "found none"},
      {"[]", MOPT_DATA_LOSS, "expected an object"},
      {R"({"weight_map":{"a":"s1.safetensors"})", MOPT_DATA_LOSS, "after a value"},
      {"", MOPT_DATA_LOSS, "expected an object"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.text);
    dir.write("model.safetensors.index.json", c.text);
    const std::string sentence = refusal(dir.path(), c.code);
    CAPTURE(sentence);
    CHECK(sentence.find(c.says) != std::string::npos);
  }
}

TEST_CASE_FIXTURE(Fixture, "directories without safetensors say what is missing") {
  CHECK(refusal(dir / "nothing", MOPT_NOT_FOUND).find("found nothing there") != std::string::npos);
  CHECK(refusal(dir.path(), MOPT_NOT_FOUND).find("no .safetensors file") != std::string::npos);
  dir.write("pytorch_model.bin", "PK");
  CHECK(refusal(dir.path(), MOPT_EXECUTABLE).find("torch.load") != std::string::npos);
  CHECK(refusal(dir / "pytorch_model.bin", MOPT_EXECUTABLE).find("convert") != std::string::npos);
  CHECK(Reader::probe(dir.path().native(), {}) > 0);
  dir.write("a.safetensors", one("a", 1));
  CHECK(open(dir.path()).count() == 1);
  dir.write("b.safetensors", one("b", 1));
  CHECK(refusal(dir.path(), MOPT_DATA_LOSS).find("2 .safetensors files without an index") !=
        std::string::npos);
  dir.write("model.safetensors", one("c", 1));
  CHECK(mopt::view(open(dir.path()).tensor(0).name) == "c");
}

TEST_CASE("a path is ours by its name, or by the first bytes") {
  const std::string head = one("a", 1);
  const std::span bytes(reinterpret_cast<const uint8_t*>(head.data()), head.size());
  CHECK(Reader::probe("x.safetensors", {}) == 100);
  CHECK(Reader::probe("x.unnamed", bytes) > 0);
  CHECK(Reader::probe("x.gguf", {}) == 0);
}

size_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  size_t size = 0, resident = 0;
  in >> size >> resident;
  return resident * 4096;
}

TEST_CASE_FIXTURE(Fixture, "released pages leave the process, and the bytes can be read again") {
  constexpr size_t kBytes = 64 << 20;
  const Reader reader =
      open(dir.write("m.safetensors",
                     image(R"({"w":{"dtype":"U8","shape":[67108864],"data_offsets":[0,67108864]}})",
                           std::string(kBytes, '\x05'))));
  const auto* data = static_cast<const uint8_t*>(reader.tensor(0).data);
  const auto sum = [&] {
    uint64_t total = 0;
    for (size_t i = 0; i < kBytes; i += 4096)
      total += data[i];
    return total;
  };
  reader.prefetch(0);
  const uint64_t first = sum();
  const size_t before = resident_bytes();
  reader.release(0);
  CHECK(resident_bytes() + kBytes - (1 << 20) <= before);
  CHECK(sum() == first);
}

}  // namespace
