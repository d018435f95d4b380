#include "host/cli/help.hpp"

#include <doctest/doctest.h>

#include "host/report/progress.hpp"

using namespace mopt;
using namespace mopt::cli;

namespace {

bool fits(const std::string& text, int width, std::string_view examples) {
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    const std::string line = text.substr(at, end - at);
    // Command lines are to be copied: they stay whole.
    const bool example = line.size() > 2 && examples.find(line.substr(2)) != std::string::npos;
    if (!example && display_width(line) > width) {
      MESSAGE("too wide: " << line);
      return false;
    }
    at = end + 1;
  }
  return true;
}

}  // namespace

TEST_CASE("every help text fits 80 columns, and 40 but for the examples") {
  for (const CommandSpec& c : commands()) {
    CAPTURE(c.name);
    CHECK(fits(command_help(c, 80), 80, ""));
    CHECK(fits(command_help(c, 40), 40, c.examples));
  }
}

TEST_CASE("a help text names every option of its command and an example") {
  for (const CommandSpec& c : commands()) {
    const std::string text = command_help(c, 80);
    CAPTURE(c.name);
    for (const OptionSpec& o : c.options)
      CHECK(text.find("--" + std::string(o.name)) != std::string::npos);
    for (const OptionSpec& o : common_options())
      CHECK(text.find("--" + std::string(o.name)) != std::string::npos);
    CHECK(text.find("Examples:\n  ") != std::string::npos);
    CHECK_FALSE(c.examples.empty());
  }
}

TEST_CASE("the program's help names every command and exit code") {
  const std::string text = program_help(80);
  for (const CommandSpec& c : commands().subspan(1))
    CHECK(text.find("  " + std::string(c.name)) != std::string::npos);
  for (const char* code : {"0 done", "1 a bug", "2 recipe", "3 model", "4", "5", "6", "7"})
    CHECK(text.find(code) != std::string::npos);
}

TEST_CASE("no option belongs both to a command and to all of them") {
  for (const CommandSpec& c : commands()) {
    for (const OptionSpec& o : c.options) {
      for (const OptionSpec& common : common_options())
        CHECK(o.name != common.name);
    }
  }
}
