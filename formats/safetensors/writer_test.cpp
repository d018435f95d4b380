#include "writer.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <filesystem>
#include <random>
#include <thread>

#include "reader.hpp"
#include "tests/fake_host.hpp"
#include "tests/golden.hpp"
#include "tests/json.hpp"
#include "tests/temp_directory.hpp"

namespace {

namespace fs = std::filesystem;
using mopt::safetensors::Writer;
using mopt::test::TempDir;

// A plan and the bytes of its tensors.
struct Job {
  std::vector<std::string> names;
  std::vector<std::vector<int64_t>> shapes;
  std::vector<std::string> bytes;
  std::vector<mopt_tensor_decl> decls;
  std::string directory;
  mopt_write_plan plan{};

  void add(std::string name, DLDataType dtype, std::vector<int64_t> shape) {
    std::mt19937 random(static_cast<unsigned>(names.size()));
    std::string data(static_cast<size_t>(mopt::elements(shape)) * dtype.bits / 8, '\0');
    for (char& c : data)
      c = static_cast<char>(random());
    names.push_back(std::move(name));
    shapes.push_back(std::move(shape));
    bytes.push_back(std::move(data));
    decls.push_back({sizeof(mopt_tensor_decl), dtype, {}, nullptr, 0, 0});
  }
  const mopt_write_plan& finish(std::string into, uint64_t shard_bytes,
                                mopt_write_flags flags = 0) {
    directory = std::move(into);
    for (size_t i = 0; i < decls.size(); ++i) {
      decls[i].name = mopt::str(names[i]);
      decls[i].shape = shapes[i].data();
      decls[i].ndim = static_cast<int32_t>(shapes[i].size());
    }
    plan = {sizeof(mopt_write_plan),
            flags,
            mopt::str(directory),
            decls.data(),
            decls.size(),
            shard_bytes};
    return plan;
  }
  void write(Writer& writer, size_t i) const {
    writer.write(names[i], 0, std::as_bytes(std::span(bytes[i])));
  }
};

std::string numbered(int i) {
  return {'t', static_cast<char>('0' + i)};
}

Job mixed() {
  Job job;
  job.add("scale", mopt::kF32, {});
  job.add("codes", mopt::kU8, {3, 5});
  job.add("w \"quoted\" \xC3\xA9", mopt::kBf16, {4, 3});
  job.add("empty", mopt::kI64, {0, 7});
  job.add("ids", mopt::kI64, {3});
  return job;
}

struct Fixture {
  mopt::test::FakeHost host;
  TempDir dir;
  std::unique_ptr<Writer> make(const mopt_write_plan& plan) {
    return std::make_unique<Writer>(mopt::Host(host.host()), plan);
  }
  uint64_t size_on_disk() const {
    uint64_t sum = 0;
    for (const auto& entry : fs::directory_iterator(dir.path()))
      sum += entry.file_size();
    return sum;
  }
};

TEST_CASE_FIXTURE(Fixture,
                  "one file holds the plan's tensors, aligned, and has the predicted size") {
  Job job = mixed();
  const mopt_write_plan& plan = job.finish(dir.path(), 0);
  {
    const auto writer = make(plan);
    for (size_t i = job.names.size(); i-- > 0;)
      job.write(*writer, i);
    CHECK_FALSE(fs::exists(dir / "model.safetensors"));
    writer->commit();
  }
  CHECK(size_on_disk() == Writer::predict(plan));
  const auto stored = mopt::test::read_safetensors(dir / "model.safetensors");
  REQUIRE(stored.size() == job.names.size());
  for (size_t i = 0; i < job.names.size(); ++i) {
    CHECK(stored.at(job.names[i]).bytes == job.bytes[i]);
    CHECK(stored.at(job.names[i]).shape == job.shapes[i]);
  }
  const mopt::safetensors::Reader reader(mopt::Host(host.host()), dir.path());
  CHECK(reader.metadata() == R"({"format":"pt"})");
  for (size_t i = 0; i < reader.count(); ++i) {
    CHECK(reader.tensor(i).plain == 1);
    CHECK(reader.tensor(i).offset % (reader.tensor(i).dtype.bits / 8) == 0);
  }
}

TEST_CASE_FIXTURE(Fixture, "shards fill in the plan's order and the index names every tensor") {
  Job job;
  for (int i = 0; i < 7; ++i)
    job.add(numbered(i), mopt::kU8, {i == 4 ? 100 : 10});
  const mopt_write_plan& plan = job.finish(dir.path(), 25);
  const auto writer = make(plan);
  for (size_t i = 0; i < job.names.size(); ++i)
    job.write(*writer, i);
  writer->commit();
  CHECK(size_on_disk() == Writer::predict(plan));
  const auto index =
      mopt::test::parse_json(mopt::test::read_file(dir / "model.safetensors.index.json"));
  CHECK(index["metadata"]["total_size"] == 160);
  const int shard_of[] = {1, 1, 2, 2, 3, 4, 4};
  for (int i = 0; i < 7; ++i) {
    std::string file = "model-00000-of-00004.safetensors";
    file[10] = static_cast<char>('0' + shard_of[i]);
    CHECK(index["weight_map"][numbered(i)] == file);
    CHECK(mopt::test::read_safetensors(dir / file).at(job.names[static_cast<size_t>(i)]).bytes ==
          job.bytes[static_cast<size_t>(i)]);
  }
  CHECK(mopt::safetensors::Reader(mopt::Host(host.host()), dir.path()).count() == 7);
  for (const auto& entry : fs::directory_iterator(dir.path())) {
    CHECK(entry.path().extension() != ".partial");
  }
}

TEST_CASE_FIXTURE(Fixture, "threads write pieces of one tensor") {
  Job job;
  job.add("big", mopt::kU8, {1 << 20});
  const auto writer = make(job.finish(dir.path(), 0));
  std::vector<std::thread> threads;
  for (uint64_t part = 0; part < 4; ++part) {
    threads.emplace_back([&, part] {
      for (uint64_t at = part * 4096; at < 1 << 20; at += 4 * 4096) {
        writer->write("big", at, std::as_bytes(std::span(job.bytes[0])).subspan(at, 4096));
      }
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  writer->commit();
  CHECK(mopt::test::read_safetensors(dir / "model.safetensors").at("big").bytes == job.bytes[0]);
}

// More than is given to the disk at a time, in several files, with syncs in between.
TEST_CASE_FIXTURE(Fixture, "what threads write while others sync is all there at the commit") {
  Job job;
  for (int i = 0; i < 4; ++i)
    job.add(numbered(i), mopt::kU8, {(5 << 20) + 7 * i});
  const auto writer = make(job.finish(dir.path(), 11 << 20));
  std::atomic<bool> done = false;
  std::thread syncing([&] {
    while (!done)
      writer->sync();
  });
  std::vector<std::thread> threads;
  for (size_t i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      const auto bytes = std::as_bytes(std::span(job.bytes[i]));
      for (size_t at = 0; at < bytes.size(); at += 300000) {
        const size_t n = std::min<size_t>(300000, bytes.size() - at);
        writer->write(job.names[i], at, bytes.subspan(at, n));
      }
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  done = true;
  syncing.join();
  writer->commit();
  for (size_t i = 0; i < 4; ++i) {
    const std::string file =
        i < 2 ? "model-00001-of-00002.safetensors" : "model-00002-of-00002.safetensors";
    CHECK(mopt::test::read_safetensors(dir / file).at(job.names[i]).bytes == job.bytes[i]);
  }
}

TEST_CASE_FIXTURE(Fixture,
                  "a commit without all bytes is refused, even when enough bytes were written") {
  Job job = mixed();
  const auto writer = make(job.finish(dir.path(), 0));
  for (const size_t i : {0, 2, 4})
    job.write(*writer, i);
  CHECK_THROWS_WITH_AS(writer->commit(), doctest::Contains("tensor 'codes': expected 15 bytes"),
                       mopt::Error);
  const auto data = std::as_bytes(std::span(job.bytes[1]));
  writer->write("codes", 0, data.first(8));
  writer->write("codes", 1, data.subspan(1, 7));
  CHECK_THROWS_WITH_AS(writer->commit(), doctest::Contains("found 8"), mopt::Error);
  CHECK_FALSE(fs::exists(dir / "model.safetensors"));
  writer->write("codes", 8, data.subspan(8));
  writer->commit();
  CHECK(mopt::test::read_safetensors(dir / "model.safetensors").at("codes").bytes == job.bytes[1]);
}

TEST_CASE_FIXTURE(Fixture, "a resumed run keeps what was written and ends with the same bytes") {
  Job job;
  for (int i = 0; i < 4; ++i)
    job.add(numbered(i), mopt::kU8, {10});
  {
    const auto first = make(job.finish(dir.path(), 20));
    job.write(*first, 0);
    job.write(*first, 2);
    first->sync();
  }
  SUBCASE("with the same plan") {
    // As if the earlier run had died between the renames of its commit.
    fs::rename(dir / "weights-00001-of-00002.partial", dir / "model-00001-of-00002.safetensors");
    const auto second = make(job.finish(dir.path(), 20, MOPT_WRITE_RESUME));
    job.write(*second, 1);
    job.write(*second, 3);
    second->commit();
    const auto a = mopt::test::read_safetensors(dir / "model-00001-of-00002.safetensors");
    const auto b = mopt::test::read_safetensors(dir / "model-00002-of-00002.safetensors");
    CHECK(a.at("t0").bytes == job.bytes[0]);
    CHECK(a.at("t1").bytes == job.bytes[1]);
    CHECK(b.at("t2").bytes == job.bytes[2]);
    CHECK(b.at("t3").bytes == job.bytes[3]);
  }
  SUBCASE("but not without the flag") {
    CHECK_THROWS_WITH_AS(make(job.finish(dir.path(), 20)), doctest::Contains("--resume"),
                         mopt::Error);
  }
  SUBCASE("but not with another plan") {
    job.names[3] = "u3";
    CHECK_THROWS_WITH_AS(make(job.finish(dir.path(), 20, MOPT_WRITE_RESUME)),
                         doctest::Contains("with the same header"), mopt::Error);
  }
  SUBCASE("but not when a file is shorter or missing") {
    fs::resize_file(dir / "weights-00002-of-00002.partial", 50);
    CHECK_THROWS_WITH_AS(make(job.finish(dir.path(), 20, MOPT_WRITE_RESUME)),
                         doctest::Contains("--restart"), mopt::Error);
    fs::remove(dir / "weights-00002-of-00002.partial");
    CHECK_THROWS_AS(make(job.finish(dir.path(), 20, MOPT_WRITE_RESUME)), mopt::Error);
  }
}

TEST_CASE_FIXTURE(Fixture, "resuming where nothing was begun starts, and asks for every tensor") {
  Job job;
  job.add("t", mopt::kU8, {10});
  dir.write("weights-00001-of-00001.creating", "left by a run that died while it was laying out");
  const auto writer = make(job.finish(dir.path(), 0, MOPT_WRITE_RESUME));
  CHECK_THROWS_WITH_AS(writer->commit(), doctest::Contains("'t'"), mopt::Error);
  job.write(*writer, 0);
  writer->commit();
  CHECK(mopt::test::read_safetensors(dir / "model.safetensors").at("t").bytes == job.bytes[0]);
}

TEST_CASE_FIXTURE(Fixture, "what a file cannot hold is refused by name") {
  Job job;
  SUBCASE("packed elements") {
    job.add("w", mopt::kU8, {2});
    job.decls[0].dtype = mopt::kE2m1;
    CHECK_THROWS_WITH_AS(make(job.finish(dir.path(), 0)),
                         doctest::Contains("tensor 'w': expected elements of whole bytes"),
                         mopt::Error);
  }
  SUBCASE("a name twice") {
    job.add("w", mopt::kU8, {2});
    job.add("w", mopt::kU8, {2});
    CHECK_THROWS_WITH_AS(Writer::predict(job.finish(dir.path(), 0)), doctest::Contains("taken"),
                         mopt::Error);
  }
  SUBCASE("a name that is not text") {
    job.add("w\xFF", mopt::kU8, {2});
    CHECK_THROWS_WITH_AS(Writer::predict(job.finish(dir.path(), 0)), doctest::Contains("UTF-8"),
                         mopt::Error);
  }
  SUBCASE("bytes outside a tensor, and unknown tensors") {
    job.add("w", mopt::kU8, {2});
    const auto writer = make(job.finish(dir.path(), 0));
    const std::byte two[2] = {};
    CHECK_THROWS_WITH_AS(writer->write("w", 1, two), doctest::Contains("at most 2 bytes"),
                         mopt::Error);
    CHECK_THROWS_WITH_AS(writer->write("w", ~uint64_t{0}, two), doctest::Contains("at most 2"),
                         mopt::Error);
    CHECK_THROWS_WITH_AS(writer->write("v", 0, two), doctest::Contains("write plan"), mopt::Error);
  }
  SUBCASE("more than the disk has, and then nothing is left behind") {
    job.add("w", mopt::kU8, {2});
    job.finish(dir.path(), 0);
    job.shapes[0] = {int64_t{1} << 50};
    try {
      make(job.plan);
      FAIL_CHECK("it was accepted");
    } catch (const mopt::Error& e) {
      CHECK(e.code() == MOPT_IO);
      CHECK(std::string(e.what()).find(" bytes") != std::string::npos);
    }
    CHECK(fs::is_empty(dir.path()));
  }
}

}  // namespace
