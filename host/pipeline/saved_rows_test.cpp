#include "host/pipeline/saved_rows.hpp"

#include <doctest/doctest.h>

#include <fstream>

#include "tests/temp_directory.hpp"

namespace mopt::pipeline {
namespace {

TEST_CASE("rows come back from their text under their key only") {
  const test::TempDir directory;
  const std::filesystem::path file = directory.path() / "rows";
  const TokenRows rows{{0, 7, 2147483647}, {}, {12}};
  CHECK(rows_text(rows) == "0 7 2147483647 \n\n12 \n");
  std::ofstream(file, std::ios::binary) << "key\n" << rows_text(rows);
  CHECK(saved_text(file, "key") == rows);
  for (const char* other : {"ke", "keys", "", "0 7 2147483647 "})
    CHECK(saved_text(file, other) == std::nullopt);
  CHECK(saved_text(directory.path() / "absent", "key") == std::nullopt);
}

}  // namespace
}  // namespace mopt::pipeline
