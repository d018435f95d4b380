#include "host/recipe/diagnostic.hpp"

#include <doctest/doctest.h>
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>

namespace mopt {

TEST_CASE("a diagnostic of a recipe has place, code, message and remedy as the contract shows") {
  Diagnostic d{"E101",
               "recipes/q.toml",
               14,
               1,
               "",
               "unknown key 'quantize.rules'",
               "did you mean 'quantize.rule'?"};
  CHECK(format(d) ==
        "recipes/q.toml:14:1: error[E101]: unknown key 'quantize.rules'; did you mean "
        "'quantize.rule'?");
}

TEST_CASE("a diagnostic of a tensor starts with the tensor") {
  Diagnostic d{"M204",
               "",
               0,
               0,
               "model.layers.3.mlp.down_proj.weight",
               "block 128 does not divide its 576 columns",
               "use block = 64, or leave it out with a rule"};
  CHECK(format(d) ==
        "model.layers.3.mlp.down_proj.weight: error[M204]: block 128 does not divide its 576 "
        "columns; use block = 64, or leave it out with a rule");
}

TEST_CASE("a plugin is refused, a warning warns, and empty parts leave no separators") {
  CHECK(format({"P103", "nvfp4.so", 0, 0, "", "built for ABI 1, this host speaks ABI 0",
                "rebuild it against this SDK"}) ==
        "nvfp4.so: refused[P103]: built for ABI 1, this host speaks ABI 0; rebuild it against this "
        "SDK");
  CHECK(format({"W103", "", 0, 0, "", "4 rows found", "", Severity::kWarning}) ==
        "warning[W103]: 4 rows found");
  CHECK(format({"E101", "--set a.b", 0, 0, "", "unknown key 'a'", ""}) ==
        "--set a.b: error[E101]: unknown key 'a'");
  CHECK(format({"V103", "m.safetensors", 0, 0, "x.weight", "wrong", ""}) ==
        "m.safetensors: error[V103]: x.weight: wrong");
}

TEST_CASE("names from files cannot move the cursor or forge a second line") {
  CHECK(printable("a\nb\t\x1b[2J\x7f") == "a\\nb\\t\\x1b[2J\\x7f");
  CHECK(printable("\xc2\x9b"
                  "31m") == "\\u009b31m");          // C1 CSI
  CHECK(printable("x\xe2\x80\xae") == "x\\u202e");  // right-to-left override
  CHECK(printable("\xff"
                  "a\xc3") == "\\xffa\\xc3");             // not UTF-8
  CHECK(printable("\xed\xa0\x80") == "\\xed\\xa0\\x80");  // a surrogate
  CHECK(printable("\xc0\x8a") == "\\xc0\\x8a");           // overlong newline
  CHECK(printable("Gr\xc3\xbc\xc3\x9f"
                  "e \xf0\x9f\x98\x80") ==
        "Gr\xc3\xbc\xc3\x9f"
        "e \xf0\x9f\x98\x80");
  CHECK(format({"E101", "a\nb", 1, 1, "", "m\n", ""}) == "a\\nb:1:1: error[E101]: m\\n");
}

TEST_CASE("escaping again changes nothing, whatever the bytes") {
  for (int first = 0; first < 256; ++first) {
    for (int second = 0; second < 256; second += 5) {
      const std::string text{static_cast<char>(first), static_cast<char>(second), 'x'};
      const std::string once = printable(text);
      CHECK(printable(once) == once);
      CHECK(std::ranges::none_of(once, [](unsigned char c) { return c < 0x20 || c == 0x7F; }));
    }
  }
}

TEST_CASE("the nearest candidate is suggested only when it is near") {
  CHECK(nearest("rules", {"kv_cache", "rule", "algorithm"}) == "rule");
  CHECK(nearest("block_sise", {"block_size", "block"}) == "block_size");
  CHECK(nearest("wieght", {"input", "weight"}) == "weight");  // a swap counts once
  CHECK(nearest("NVFP4", {"fp8", "nvfp4"}) == "nvfp4");
  CHECK(nearest("zebra", {"block", "rule"}) == "");
  CHECK(nearest("x", {"y"}) == "");
  CHECK(nearest("", {"a"}) == "");
  CHECK(nearest("a", {}) == "");
}

TEST_CASE("every code stands once, in its range, with a text of two to five sentences") {
  std::set<std::string_view> seen;
  for (const CodeEntry& entry : all_codes()) {
    CAPTURE(entry.code);
    CHECK(seen.insert(entry.code).second);
    CHECK(entry.code.size() == 4);
    CHECK(find_code(entry.code) == &entry);
    CHECK(!entry.title.empty());
    size_t sentences = 1;
    for (size_t at = entry.text.find(". "); at != std::string_view::npos;
         at = entry.text.find(". ", at + 2)) {
      ++sentences;
    }
    CHECK(sentences >= 2);
    CHECK(sentences <= 5);
    CHECK(entry.text.ends_with('.'));
  }
  CHECK(find_code("E999") == nullptr);
}

// Codes in the sources are string literals of four characters.
TEST_CASE("every code that the sources of this product use stands in the table") {
  const std::filesystem::path root = MOPT_SOURCE_DIR;
  const std::regex code("\"([EPMDRJVAIUXW][0-9]{3})\"");
  size_t found = 0;
  for (const char* folder : {"host", "plugins", "formats", "models"}) {
    if (!std::filesystem::exists(root / folder)) continue;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root / folder)) {
      const std::string name = entry.path().filename().string();
      const bool source = name.ends_with(".cpp") || name.ends_with(".hpp");
      if (!source || name.ends_with("_test.cpp")) continue;
      std::ifstream in(entry.path());
      const std::string text{std::istreambuf_iterator<char>(in), {}};
      for (std::sregex_iterator at(text.begin(), text.end(), code), end; at != end; ++at) {
        CAPTURE(entry.path().string());
        CAPTURE((*at)[1].str());
        CHECK(find_code((*at)[1].str()) != nullptr);
        ++found;
      }
    }
  }
  CHECK(found > 100);
}

TEST_CASE("the letter of a code decides its exit code") {
  for (const CodeEntry& entry : all_codes()) {
    CAPTURE(entry.code);
    const Exit exit = entry.exit;
    switch (entry.code[0]) {
      case 'E':
      case 'P':
      case 'U':
        CHECK(exit == Exit::kRecipe);
        break;
      case 'M':
      case 'D':
        CHECK(exit == Exit::kModel);
        break;
      case 'R':
        CHECK(exit == Exit::kResources);
        break;
      case 'J':
        CHECK((exit == Exit::kRecipe || exit == Exit::kResources));
        break;
      case 'V':
        CHECK(exit == Exit::kVerify);
        break;
      case 'A':
        CHECK(exit == Exit::kAccuracy);
        break;
      case 'I':
        CHECK(exit == Exit::kInterrupted);
        break;
      case 'X':
        CHECK(exit == Exit::kBug);
        break;
      case 'W':
        CHECK(exit == Exit::kDone);
        break;
      default:
        FAIL("unknown letter");
    }
  }
}

TEST_CASE("a failure exits with the code of its first error and says all of it") {
  Diagnostic warning{"W103", "", 0, 0, "", "few", "", Severity::kWarning};
  Diagnostic error{"R105", "", 0, 0, "", "exists", ""};
  Diagnostic other{"E101", "", 0, 0, "", "unknown", ""};
  const Failure failure({warning, error, other});
  CHECK(failure.exit() == Exit::kResources);
  CHECK(std::string(failure.what()) ==
        "warning[W103]: few\nerror[R105]: exists\nerror[E101]: unknown");
  CHECK(Failure(Diagnostic{"Z999", "", 0, 0, "", "?", ""}).exit() == Exit::kBug);
}

}  // namespace mopt
