#include "host/pipeline/scratch_file.hpp"

#include <doctest/doctest.h>

#include <sys/statvfs.h>

#include <cstring>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "host/recipe/diagnostic.hpp"
#include "mopt/error.hpp"
#include "tests/temp_directory.hpp"

namespace mopt::pipeline {
namespace {

constexpr size_t kPage = ScratchFile::kPage;

struct Pages {
  explicit Pages(size_t count)
      : memory(static_cast<std::byte*>(std::aligned_alloc(kPage, count * kPage)), std::free),
        bytes(memory.get(), count * kPage) {}
  std::unique_ptr<std::byte, decltype(&std::free)> memory;
  std::span<std::byte> bytes;
};

std::string refused(const std::filesystem::path& file, uint64_t bytes, uint64_t keep_free) {
  try {
    ScratchFile(file, bytes, keep_free);
  } catch (const Failure& f) {
    return f.diagnostics().at(0).code + " " + f.diagnostics().at(0).message;
  } catch (const Error& e) {
    return std::to_string(e.code()) + " " + e.where();
  }
  return "";
}

TEST_CASE("a scratch file gives back what several threads wrote, and has no name") {
  const test::TempDir directory;
  ScratchFile file(directory / "scratch", 64 * kPage, 0);
  CHECK(std::filesystem::is_empty(directory.path()));
  std::vector<std::thread> threads;
  std::vector<std::vector<std::byte>> wanted(8);
  for (size_t i = 0; i < wanted.size(); ++i) {
    threads.emplace_back([&, i] {
      std::mt19937 random(static_cast<unsigned>(i));
      Pages pages(i + 1);
      for (std::byte& b : pages.bytes)
        b = static_cast<std::byte>(random());
      wanted[i].assign(pages.bytes.begin(), pages.bytes.end());
      file.write(i * 8 * kPage, pages.bytes);
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  for (size_t i = 0; i < wanted.size(); ++i) {
    Pages pages(i + 1);
    file.read(i * 8 * kPage, pages.bytes);
    CHECK(std::memcmp(pages.bytes.data(), wanted[i].data(), wanted[i].size()) == 0);
  }
}

TEST_CASE("a disk without room for a scratch file is said in numbers, before anything is written") {
  const test::TempDir directory;
  struct statvfs info {};
  REQUIRE(statvfs(directory.path().c_str(), &info) == 0);
  const uint64_t room = uint64_t{info.f_bavail} * info.f_frsize, mib = uint64_t{1} << 20;
  const std::string alone = refused(directory / "scratch", 4 * room, 0);
  CHECK(alone.starts_with("R102 "));
  CHECK(alone.find(std::to_string((4 * room + mib - 1) / mib) + " MiB, the disk has ") !=
        std::string::npos);
  const std::string beside = refused(directory / "scratch", kPage, 4 * room);
  CHECK(beside.starts_with("R102 "));
  CHECK(beside.find("take 1 MiB beside the " + std::to_string((4 * room + mib - 1) / mib)) !=
        std::string::npos);
  CHECK(refused(directory / "absent" / "scratch", kPage, 0) ==
        std::to_string(MOPT_IO) + " " + (directory / "absent" / "scratch").string());
  CHECK(std::filesystem::is_empty(directory.path()));
}

TEST_CASE("a scratch file is not read beyond its end") {
  const test::TempDir directory;
  ScratchFile file(directory / "scratch", kPage, 0);
  Pages pages(2);
  CHECK_THROWS_AS(file.read(0, pages.bytes), Error);
}

}  // namespace
}  // namespace mopt::pipeline
