#include "host/cli/help.hpp"

#include <algorithm>

#include "host/cli/layout.hpp"

namespace mopt::cli {
namespace {

constexpr int kWidest = 100;
constexpr int kDefault = 80;

int help_width(int width) {
  return width == kUnlimited ? kDefault : std::min(width, kWidest);
}

std::string option_list(std::span<const OptionSpec> options, int width) {
  std::vector<Entry> list;
  for (const OptionSpec& o : options) {
    const std::string value = o.value.empty() ? "" : " " + std::string(o.value);
    list.push_back({"--" + std::string(o.name) + value, std::string(o.help)});
  }
  return entries(list, width);
}

std::string examples(std::string_view lines) {
  std::string out;
  while (!lines.empty()) {
    const size_t end = lines.find('\n');
    out += "  " + std::string(lines.substr(0, end)) + "\n";
    lines.remove_prefix(end + 1);
  }
  return out;
}

}  // namespace

std::string program_help(int asked) {
  const int width = help_width(asked);
  const CommandSpec& job = commands().front();
  std::vector<Entry> list;
  for (const CommandSpec& c : commands().subspan(1)) {
    const std::string arguments = c.arguments.empty() ? "" : " " + std::string(c.arguments);
    list.push_back({std::string(c.name) + arguments, std::string(c.summary)});
  }
  return "Usage: " +
         wrap("mopt-host --recipe NAME --model PATH --output DIR [options]", width - 7, 7) +
         "\n       " + wrap("mopt-host COMMAND [arguments] [options]", width - 7, 7) + "\n\n" +
         wrap(job.text, width) + "\n\nThe main job:\n" + option_list(job.options, width) +
         "\nLooking at results:\n" + entries(list, width) + "\nWith every command:\n" +
         option_list(common_options(), width) + "\nExamples:\n" + examples(job.examples) + "\n" +
         wrap(
             "'mopt-host COMMAND --help' says more about a command, 'mopt-host explain "
             "NAME' about a format, option, role, recipe, engine or diagnostic code.",
             width) +
         "\n" +
         wrap(
             "Exit codes: 0 done, 1 a bug of ours, 2 recipe or usage, 3 model or data, 4 "
             "verification, 5 accuracy gate, 6 resources, 7 interrupted and resumable.",
             width) +
         "\n";
}

std::string command_help(const CommandSpec& c, int asked) {
  if (c.name.empty()) return program_help(asked);
  const int width = help_width(asked);
  const std::string arguments = c.arguments.empty() ? "" : " " + std::string(c.arguments);
  std::string out =
      "Usage: " +
      wrap("mopt-host " + std::string(c.name) + arguments + " [options]", width - 7, 7) + "\n\n" +
      wrap(c.text, width) + "\n";
  if (!c.options.empty()) out += "\nOptions:\n" + option_list(c.options, width);
  return out + "\nWith every command:\n" + option_list(common_options(), width) + "\nExamples:\n" +
         examples(c.examples);
}

}  // namespace mopt::cli
