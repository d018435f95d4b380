#include "host/loader/container.hpp"

#include <doctest/doctest.h>

#include "tests/model_files.hpp"

namespace mopt {
namespace {

namespace fs = std::filesystem;
using test::TempDir;

struct Fixture {
  Services services{"", {}};
  Registry registry{{{}, {MOPT_PLUGINS}, 0}, services};
  TempDir dir;
};

std::string bytes_of(const DLTensor& t) {
  return {data<char>(t), nbytes(t)};
}

TEST_CASE_FIXTURE(Fixture, "a container hands out what the file holds") {
  const test::FileTensor w = test::random_tensor("w", "BF16", {4, 6});
  test::write_safetensors(
      dir / "m.safetensors",
      {w, {"empty", "F32", {0, 3}, ""}, {"scalar", "I64", {}, std::string(8, '\1')}});
  const Container file = Container::open(registry, dir / "m.safetensors");
  CHECK(file.format() == "safetensors");
  CHECK(file.tensors().size() == 3);
  CHECK(file.find("nothing") == nullptr);
  const StoredTensor* t = file.find("w");
  REQUIRE(t != nullptr);
  CHECK(t->plain);
  CHECK(t->bytes() == 48);
  CHECK(bytes_of(*file.load(*t, kBf16)) == w.bytes);
  CHECK(bytes_of(*file.map(*t).get()) == w.bytes);
  file.release(*t);
  CHECK(bytes_of(*file.map(*t).get()) == w.bytes);  // pages come back
  const Tensor wide = file.load(*t, kF32);
  for (int i = 0; i < 24; ++i) {
    uint16_t narrow = 0;
    std::memcpy(&narrow, w.bytes.data() + 2 * i, 2);
    uint32_t bits = 0;
    std::memcpy(&bits, wide.data<float>() + i, 4);
    CHECK(bits == uint32_t{narrow} << 16);
  }
  CHECK(nbytes(*file.load(*file.find("empty"), kF32)) == 0);
  CHECK(*file.load(*file.find("scalar"), kI64).data<int64_t>() == 0x0101010101010101);
}

TEST_CASE_FIXTURE(Fixture, "a part of the rows is read alone") {
  const test::FileTensor w = test::random_tensor("w", "F32", {5, 3});
  test::write_safetensors(dir / "m.safetensors", {w});
  const Container file = Container::open(registry, dir / "m.safetensors");
  const Tensor rows = allocate(kF32, {2, 3});
  file.read(*file.find("w"), 2, 4, const_cast<DLTensor*>(rows.get()));
  CHECK(bytes_of(*rows) == w.bytes.substr(2 * 3 * 4, 2 * 3 * 4));
}

TEST_CASE_FIXTURE(Fixture, "a path that is not there and a file that nobody reads are told apart") {
  try {
    (void)Container::open(registry, dir / "absent.safetensors");
    FAIL("an absent file was opened");
  } catch (const Error& e) {
    CHECK(e.code() == MOPT_NOT_FOUND);
    CHECK(e.where() == (dir / "absent.safetensors").string());
  }
  test::write_text(dir / "poem.txt", "roses are red");
  try {
    (void)Container::open(registry, dir / "poem.txt");
    FAIL("a text was opened");
  } catch (const Error& e) {
    CHECK(e.code() == MOPT_UNSUPPORTED);
    CHECK(std::string(e.what()).find("safetensors") != std::string::npos);
  }
}

TEST_CASE_FIXTURE(Fixture, "the size that is predicted is the size that is written") {
  const std::vector<TensorDecl> decls{{"a", kBf16, {3, 5}}, {"none", kF32, {0}}, {"s", kF32, {}}};
  for (const uint64_t shard : {uint64_t{0}, uint64_t{16}}) {
    const ContainerWriter::Plan plan{dir / std::to_string(shard), decls, shard};
    const uint64_t predicted = ContainerWriter::predict(registry, "safetensors", plan);
    ContainerWriter writer(registry, "safetensors", plan, WriteMode::kFresh);
    const std::string a(30, 'x'), s(4, 'y');
    writer.write("a", 0, std::as_bytes(std::span(a)));
    writer.write("s", 0, std::as_bytes(std::span(s)));
    writer.commit();
    uint64_t found = 0;
    for (const auto& entry : fs::directory_iterator(plan.directory))
      found += entry.file_size();
    CHECK(found == predicted);
  }
}

TEST_CASE_FIXTURE(Fixture, "a format that is not loaded cannot write") {
  CHECK_THROWS_AS(ContainerWriter(registry, "stone", {dir / "x", {}, 0}, WriteMode::kFresh), Error);
}

TEST_CASE_FIXTURE(Fixture, "a gguf cannot be written, and says so") {
  try {
    ContainerWriter(registry, "gguf", {dir / "x", {}, 0}, WriteMode::kFresh);
    FAIL("a gguf was begun");
  } catch (const Error& e) {
    CHECK(e.code() == MOPT_UNSUPPORTED);
  }
}

}  // namespace
}  // namespace mopt
