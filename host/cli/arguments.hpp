// The words of a command line, sorted into options and arguments; nothing is interpreted yet.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "host/cli/grammar.hpp"
#include "host/recipe/diagnostic.hpp"

namespace mopt::cli {

// The one way in which a command line is refused: U101, exit 2.
[[noreturn]] void usage_error(std::string message, std::string remedy);

// Chat templates are not applied by this version.
[[noreturn]] void refuse_chat();

struct Arguments {
  const CommandSpec* command = nullptr;
  std::map<std::string, std::vector<std::string>, std::less<>> values;  // flags: an empty list
  std::vector<std::string> positional;

  bool has(std::string_view option) const { return values.find(option) != values.end(); }
  std::optional<std::string> value(std::string_view option) const;
  std::vector<std::string> list(std::string_view option) const;
};

// `words` without the program's name. Throws Failure U101. With --help or --version nothing else is
// required.
Arguments read_arguments(const std::vector<std::string>& words);

}  // namespace mopt::cli
