#include "host/pipeline/fingerprint.hpp"

#include <doctest/doctest.h>

#include <random>
#include <set>

#include "host/compute/parallel.hpp"
#include "mopt/error.hpp"
#include "tests/model_files.hpp"
#include "tests/temp_directory.hpp"

namespace mopt::pipeline::test {
namespace {

namespace fs = std::filesystem;

struct Files {
  mopt::test::TempDir dir;
  std::vector<fs::path> paths;
  std::vector<std::string> bytes;

  void add(size_t size) {
    std::mt19937 random(static_cast<unsigned>(size));
    std::string text(size, '\0');
    for (char& c : text)
      c = static_cast<char>(random());
    paths.push_back(dir.write("f" + std::to_string(paths.size()), text));
    bytes.push_back(text);
  }
  // With `n` bytes of file i from `at` on turned over.
  std::vector<std::string> changed(size_t i, size_t at, size_t n, Probing probing) const {
    std::string other = bytes[i];
    for (size_t k = at; k < at + n; ++k)
      other[k] = static_cast<char>(~other[k]);
    mopt::test::write_text(paths[i], other);
    auto found = fingerprints(paths, probing);
    mopt::test::write_text(paths[i], bytes[i]);
    return found;
  }
};

// Small numbers stand for the real ones.
constexpr Probing kWhole{100000, 64, 16}, kProbed{100, 64, 16};

TEST_CASE("of files that are read whole every byte counts, and only in its own file") {
  Files f;
  for (const size_t size : {0, 1, 63, 64, 65, 1000})
    f.add(size);
  const auto before = fingerprints(f.paths, kWhole);
  CHECK(std::set<std::string>(before.begin(), before.end()).size() == f.paths.size());
  for (size_t i = 0; i < f.paths.size(); ++i) {
    for (size_t at = 0; at < f.bytes[i].size(); ++at) {
      auto after = f.changed(i, at, 1, kWhole);
      CAPTURE(i);
      CAPTURE(at);
      CHECK(after[i] != before[i]);
      after[i] = before[i];
      CHECK(after == before);
    }
  }
}

TEST_CASE("of larger files a change is noticed wherever it is long enough, and the size counts") {
  Files f;
  for (const size_t size : {3, 64, 80, 1000, 1023})
    f.add(size);
  const auto before = fingerprints(f.paths, kProbed);
  for (size_t i = 0; i < f.paths.size(); ++i) {
    for (size_t at = 0; at + 64 <= f.bytes[i].size(); ++at)
      CHECK(f.changed(i, at, 64, kProbed)[i] != before[i]);
    CHECK(f.changed(i, f.bytes[i].size() - 1, 1, kProbed)[i] != before[i]);
    CHECK(f.changed(i, 0, 1, kProbed)[i] != before[i]);
  }
  CHECK(f.changed(3, 20, 40, kProbed)[3] == before[3]);  // between two probes
  mopt::test::write_text(f.paths[1], f.bytes[1] + std::string(1, '\0'));
  CHECK(fingerprints(f.paths, kProbed)[1] != before[1]);
}

TEST_CASE("a fingerprint depends neither on threads nor on where the file stands") {
  Files f, g;
  for (const size_t size : {5000, 70}) {
    f.add(size);
    g.add(size);
  }
  compute::Threads one(1);
  std::vector<std::string> alone;
  one.run([&] { alone = fingerprints(f.paths, kWhole); });
  CHECK(fingerprints(g.paths, kWhole) == alone);
  CHECK(fingerprints({}, kWhole).empty());
  CHECK_THROWS_AS(fingerprints(std::vector<fs::path>{f.dir / "none"}, kWhole), mopt::Error);
}

}  // namespace
}  // namespace mopt::pipeline::test
