// Commands and options as data: the parser, the help texts and the suggestions come from it.
#pragma once

#include <span>
#include <string_view>

namespace mopt::cli {

enum class Arity { kFlag, kValue, kList };  // kList: may be repeated

struct OptionSpec {
  std::string_view name, value, help;  // value: what the help calls the argument
  Arity arity = Arity::kFlag;
};

struct CommandSpec {
  std::string_view name;       // empty: the main job
  std::string_view arguments;  // "SRC DST"
  int n_arguments = 0;         // all of them required
  std::string_view summary;    // one line of the list of commands
  std::string_view text;       // paragraphs of its own help
  std::span<const OptionSpec> options;
  std::string_view examples;  // lines of a shell
};

std::span<const OptionSpec> common_options();
std::span<const CommandSpec> commands();  // the main job first
const CommandSpec* find_command(std::string_view name);

}  // namespace mopt::cli
