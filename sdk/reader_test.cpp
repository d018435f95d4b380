#include "mopt/reader.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <atomic>
#include <thread>
#include <vector>

#include "tests/temp_directory.hpp"

namespace {

using mopt::Error;
using mopt::MappedFile;

constexpr MappedFile::Expected kExpected{"a box", "pack one", 4};

struct Refusal {
  mopt_code code = 0;
  std::string what, where;
};

Refusal refusal(const std::string& path) {
  try {
    const MappedFile file(path, kExpected);
  } catch (const Error& e) {
    return {e.code(), e.what(), e.where()};
  }
  return {};
}

}  // namespace

TEST_CASE("a mapped file shows the file's bytes, also after hints and after it moved") {
  const mopt::test::TempDir dir;
  std::string bytes(300000, '\0');
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<char>(i * 7 % 251);
  MappedFile first(dir.write("box", bytes), kExpected);
  const uint8_t* address = first.bytes().data();
  const MappedFile file(std::move(first));
  CHECK(file.bytes().data() == address);
  file.prefetch(0, 5);
  file.release(4097, 12289);
  file.release(0, bytes.size() + 100000);  // beyond the end
  file.release(bytes.size(), 10);          // the wrong way round
  REQUIRE(file.bytes().size() == bytes.size());
  CHECK(std::equal(bytes.begin(), bytes.end(), file.bytes().begin(),
                   [](char a, uint8_t b) { return static_cast<uint8_t>(a) == b; }));
}

TEST_CASE("what cannot be mapped is refused with the path, what was found and what to do") {
  const mopt::test::TempDir dir;
  const std::string missing = (dir / "missing").string();
  const Refusal nothing = refusal(missing);
  CHECK(nothing.code == MOPT_NOT_FOUND);
  CHECK(nothing.what == missing + ": expected a box, found nothing there; pack one");
  CHECK(nothing.where == missing);
  CHECK(refusal(dir.path()).what.find("found something else") != std::string::npos);
  const std::string pipe = (dir / "pipe").string();
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(refusal(pipe).code == MOPT_NOT_FOUND);  // at once: nobody writes to it
  const Refusal brief = refusal(dir.write("brief", "abc"));
  CHECK(brief.code == MOPT_DATA_LOSS);
  CHECK(brief.what.find("at least 4 bytes, found 3") != std::string::npos);
}

TEST_CASE("an empty file can be mapped where that is enough") {
  const mopt::test::TempDir dir;
  const MappedFile file(dir.write("empty", ""), {"a file", "make one"});
  CHECK(file.bytes().empty());
  file.prefetch(0, 1);
  file.release(0, 1);
}

TEST_CASE("a document is made once, stays where it is, and a failure leaves nothing behind") {
  mopt::Documents documents;
  std::atomic<int> made = 0;
  const auto make = [&](std::string_view name) {
    if (++made == 1) throw Error(MOPT_IO, "no");
    return "text of " + std::string(name);
  };
  CHECK_THROWS_AS(documents.get("a", make), Error);
  const std::string_view text = documents.get("a", make);
  CHECK(text == "text of a");
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i)
      threads.emplace_back([&] { documents.get("b", make); });
  }
  CHECK(made == 3);
  CHECK(documents.get("a", make).data() == text.data());
}

TEST_CASE("a name in a sentence shows its control characters and is cut after 200 bytes") {
  CHECK(mopt::in_quotes("a\x01z\x7F") == "'a\\x01z\\x7f'");
  CHECK(mopt::in_quotes(std::string(200, 'x')) == "'" + std::string(200, 'x') + "'");
  CHECK(mopt::in_quotes(std::string(201, 'x')) == "'" + std::string(200, 'x') + "...'");
}
