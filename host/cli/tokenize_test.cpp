#include "host/cli/tokenize.hpp"

#include <doctest/doctest.h>

#include "host/recipe/diagnostic.hpp"

using namespace mopt;
using namespace mopt::cli;

namespace {

using Ids = std::vector<int32_t>;
const LinePlace kPlace = {"standard input", 7};

template <class Fn>
std::string refusal(Fn&& fn) {
  try {
    fn();
  } catch (const Failure& f) {
    CHECK(f.exit() == Exit::kModel);
    return f.what();
  }
  return {};
}

}  // namespace

TEST_CASE("lines of ids are separated by spaces or commas") {
  CHECK(ids_of_line("1 2 3", kPlace) == Ids{1, 2, 3});
  CHECK(ids_of_line(" 1,2, 3\r", kPlace) == Ids{1, 2, 3});
  CHECK(ids_of_line("", kPlace).empty());
}

TEST_CASE("a line that holds something else is refused with its place") {
  CHECK(refusal([] { ids_of_line("1 two 3", kPlace); }) ==
        "standard input:7: error[D103]: expected ids, found 'two'; separate whole numbers by "
        "spaces or commas");
  CHECK_FALSE(refusal([] { ids_of_line("3000000000", kPlace); }).empty());
  CHECK_FALSE(refusal([] { ids_of_line("1.5", kPlace); }).empty());
}

TEST_CASE("lines of JSON hold an array of ids or a string") {
  CHECK(ids_of_json("[1, 2]", kPlace) == Ids{1, 2});
  CHECK(ids_of_json("[]", kPlace).empty());
  CHECK(text_of_json("\"a\\nb\"", kPlace) == "a\nb");
  for (const char* bad : {"1", "[1, \"a\"]", "[-1]", "[1.5]", "[3000000000]", "", "[1"}) {
    CAPTURE(bad);
    CHECK_FALSE(refusal([&] { ids_of_json(bad, kPlace); }).empty());
  }
  for (const char* bad : {"hello", "[\"hello\", 3]", "{}", "", "\"open"}) {
    CAPTURE(bad);
    CHECK_FALSE(refusal([&] { text_of_json(bad, kPlace); }).empty());
  }
}
