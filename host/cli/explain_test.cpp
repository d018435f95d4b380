#include "host/cli/explain.hpp"

#include <doctest/doctest.h>

#include "host/cli/component_text.hpp"

using namespace mopt;
using namespace mopt::cli;

TEST_CASE("the comment at the head of a recipe becomes paragraphs") {
  CHECK(header_comment("# When: first\n#   choice.\n# Next: x\n\n# later\nschema = 1\n") ==
        "When: first choice.\nNext: x\n");
  CHECK(header_comment("schema = 1\n").empty());
  CHECK(header_comment("# only").compare("only\n") == 0);
  CHECK(header_comment("#\n# a\n") == "\na\n");
}

TEST_CASE("options are told with default, range and choices") {
  mopt_option block{};
  block.struct_size = sizeof block;
  block.type = MOPT_INT;
  block.name = "block";
  block.help = "columns that share a scale";
  block.flags = MOPT_OPTION_HAS_MIN | MOPT_OPTION_HAS_MAX;
  block.def.type = MOPT_INT;
  block.def.as.i = 128;
  block.min = 16;
  block.max = 1024;
  CHECK(option_entry(block).name == "block = 128");
  CHECK(option_entry(block).text == "columns that share a scale; a whole number, 16 to 1024");
  const char* const choices[] = {"tensor", "channel"};
  mopt_option axis{};
  axis.struct_size = sizeof axis;
  axis.type = MOPT_STR;
  axis.name = "axis";
  axis.help = "what shares a scale";
  axis.flags = MOPT_OPTION_REQUIRED;
  axis.n_choices = 2;
  axis.choices = choices;
  CHECK(option_entry(axis).name == "axis");
  CHECK(option_entry(axis).text == "what shares a scale; one of \"tensor\", \"channel\"; required");
}

TEST_CASE("interfaces of ours are told by one word") {
  CHECK(interface_word("mopt.quantizer/1") == "quantizer");
  CHECK(interface_word("org.example.odd/2") == "org.example.odd/2");
}
