#include "host/loader/registry.hpp"

#include <doctest/doctest.h>

#include <algorithm>

#include "host/loader/components.hpp"
#include "tests/model_files.hpp"

namespace mopt {
namespace {

namespace fs = std::filesystem;
using test::TempDir;

fs::path variant(const std::string& name) {
  return fs::path(MOPT_VARIANTS) / name / (name + ".so");
}

std::vector<std::string> codes(const Registry& registry) {
  std::vector<std::string> out;
  for (const Refusal& r : registry.refused())
    out.push_back(r.file.stem().string() + " " + r.code);
  return out;
}

bool offers(const Registry& registry, const std::string& component) {
  const auto all = registry.components("mopt.pruner/1");
  return std::any_of(all.begin(), all.end(),
                     [&](const Component& c) { return c.name() == component; });
}

TEST_CASE("what cannot be used is refused with its reason, and the rest works") {
  Services services("", {});
  TempDir dir;
  const std::string good = test::read_text(variant("good"));
  test::write_text(dir / "a_text.so", "not a library");
  test::write_text(dir / "b_empty.so", "");
  test::write_text(dir / "c_cut.so", good.substr(0, good.size() / 2));
  fs::copy_file(variant("crashing"), dir / "d_crashing.so");
  fs::copy_file(variant("exiting"), dir / "e_exiting.so");
  fs::copy_file(variant("no_entry"), dir / "f_no_entry.so");
  fs::copy_file(variant("good"), dir / "g_good.so");
  test::write_text(dir / "h_readme.txt", "no .so, never looked at");
  const Registry registry({{}, {dir.path()}, 1}, services);
  CHECK(codes(registry) == std::vector<std::string>{"a_text P101", "b_empty P101", "c_cut P101",
                                                    "d_crashing P107", "e_exiting P107",
                                                    "f_no_entry P102"});
  CHECK(registry.plugins().size() == 1);
  CHECK(offers(registry, "keep_all"));
}

TEST_CASE("one id is loaded once: the first file that is found wins, the second is named") {
  Services services("", {});
  const Registry registry({{variant("good"), variant("twin")}, {}, 0}, services);
  REQUIRE(registry.refused().size() == 1);
  CHECK(registry.refused()[0].code == "P106");
  CHECK(registry.refused()[0].reason.find(variant("good").string()) != std::string::npos);
  CHECK(registry.plugins().size() == 1);
}

TEST_CASE("a file that two search paths lead to is one file") {
  Services services("", {});
  const fs::path folder = variant("good").parent_path();
  const Registry registry({{variant("good")}, {folder, folder / ".." / "good"}, 2}, services);
  CHECK(registry.plugins().size() == 1);
  CHECK(registry.refused().empty());
}

TEST_CASE("a name that two plugins offer must say whose it is") {
  Services services("", {});
  const Registry registry({{variant("good"), variant("rival")}, {}, 0}, services);
  CHECK(registry.find("mopt.pruner/1", "org.example.rival:keep_all").file == variant("rival"));
  try {
    (void)registry.find("mopt.pruner/1", "keep_all");
    FAIL("an ambiguous name was resolved");
  } catch (const Error& e) {
    CHECK(e.code() == MOPT_INVALID_ARGUMENT);
    CHECK(std::string(e.what()).find("org.example.rival:keep_all") != std::string::npos);
  }
}

TEST_CASE("a name that nobody offers is not found, nor is one of another interface") {
  Services services("", {});
  const Registry registry({{variant("good")}, {}, 0}, services);
  CHECK_THROWS_AS((void)registry.find("mopt.pruner/1", "keep_none"), Error);
  CHECK_THROWS_AS((void)registry.find("mopt.quantizer/1", "keep_all"), Error);
}

TEST_CASE("plugins are never looked for in the working directory") {
  const fs::path bin = "/opt/mopt/bin/mopt-host";
  const SearchPath search = default_search({}, {"/a"}, bin);
  for (const fs::path& directory : search.directories)
    CHECK(directory.is_absolute());
  CHECK(search.directories.front() == "/a");
  CHECK(search.directories.back() == "/opt/mopt/lib/mopt/plugins/abi-0");
  CHECK(search.first_trusted == search.directories.size() - 1);
}

}  // namespace
}  // namespace mopt
