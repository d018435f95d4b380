#include "host/cli/arguments.hpp"

#include <algorithm>
#include <boost/program_options.hpp>

namespace mopt::cli {
namespace {

namespace po = boost::program_options;

constexpr const char* kPositional = "\x01";  // a name that nobody can type

std::vector<std::string> option_names(const CommandSpec& command) {
  std::vector<std::string> names;
  for (const OptionSpec& o : common_options())
    names.push_back("--" + std::string(o.name));
  for (const OptionSpec& o : command.options)
    names.push_back("--" + std::string(o.name));
  return names;
}

// The first command, the main job included, that has the option.
const CommandSpec* owner_of(std::string_view option) {
  for (const CommandSpec& c : commands()) {
    if (std::ranges::any_of(c.options, [&](const OptionSpec& o) { return o.name == option; })) {
      return &c;
    }
  }
  return nullptr;
}

const OptionSpec* find_option(std::string_view name) {
  const auto named = [&](const OptionSpec& o) { return o.name == name; };
  const auto common = std::ranges::find_if(common_options(), named);
  if (common != common_options().end()) return &*common;
  const CommandSpec* owner = owner_of(name);
  return owner == nullptr ? nullptr : &*std::ranges::find_if(owner->options, named);
}

[[noreturn]] void unknown_option(const std::string& word, const CommandSpec& command) {
  const std::string near = nearest(word, option_names(command));
  const std::string name = command.name.empty() ? "" : std::string(command.name) + " ";
  usage_error("unknown option '" + word + "'",
              near.empty() ? "'mopt-host " + name + "--help' lists what there is"
                           : "did you mean '" + near + "'?");
}

[[noreturn]] void misplaced_option(const std::string& word, const CommandSpec& command) {
  const CommandSpec* owner = owner_of(word.substr(2));
  const std::string here =
      command.name.empty() ? "the main job" : "'" + std::string(command.name) + "'";
  const std::string there =
      owner->name.empty() ? "the main job (--recipe)" : "'" + std::string(owner->name) + "'";
  usage_error(here + " has no option '" + word + "'", "it belongs to " + there);
}

[[noreturn]] void unknown_command(const std::string& word, bool has_recipe) {
  if (has_recipe) {
    usage_error("unexpected argument '" + word + "'",
                "the main job takes options only, such as --model PATH and --output DIR");
  }
  std::vector<std::string> names;
  for (const CommandSpec& c : commands())
    if (!c.name.empty()) names.emplace_back(c.name);
  const std::string near = nearest(word, names);
  usage_error("unknown command '" + word + "'", near.empty()
                                                    ? "'mopt-host --help' lists the commands"
                                                    : "did you mean '" + near + "'?");
}

bool is_option(const std::string& word) {
  return word.size() > 1 && word[0] == '-';
}

// Removes the command, the first word that is neither an option nor the value of one.
const CommandSpec& take_command(std::vector<std::string>& words) {
  bool has_recipe = false;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (!is_option(word)) {
      const CommandSpec* command = word.empty() ? nullptr : find_command(word);
      if (command == nullptr) unknown_command(word, has_recipe);
      words.erase(words.begin() + static_cast<std::ptrdiff_t>(i));
      return *command;
    }
    const std::string name = word.substr(0, word.find('='));
    const OptionSpec* option = name.starts_with("--") ? find_option(name.substr(2)) : nullptr;
    if (option == nullptr) unknown_option(name, commands().front());
    has_recipe = has_recipe || option->name == "recipe";
    if (option->arity != Arity::kFlag && name.size() == word.size()) ++i;
  }
  return commands().front();
}

po::options_description describe(const CommandSpec& command) {
  po::options_description all;
  const auto add = [&](const OptionSpec& o) {
    const std::string name(o.name);
    if (o.arity == Arity::kFlag) {
      all.add_options()(name.c_str(), "");
    } else if (o.arity == Arity::kValue) {
      all.add_options()(name.c_str(), po::value<std::string>(), "");
    } else {
      all.add_options()(name.c_str(), po::value<std::vector<std::string>>(), "");
    }
  };
  std::ranges::for_each(common_options(), add);
  std::ranges::for_each(command.options, add);
  all.add_options()(kPositional, po::value<std::vector<std::string>>(), "");
  return all;
}

po::parsed_options parse(const CommandSpec& command, const std::vector<std::string>& words) {
  using namespace po::command_line_style;
  const po::options_description all = describe(command);
  po::positional_options_description positional;
  positional.add(kPositional, -1);
  try {
    return po::command_line_parser(words)
        .options(all)
        .positional(positional)
        .style(allow_long | long_allow_adjacent | long_allow_next)
        .run();
  } catch (const po::unknown_option& e) {
    const std::string word = e.get_option_name(), name = word.substr(0, word.find('='));
    if (name.starts_with("--") && owner_of(name.substr(2)) != nullptr) {
      misplaced_option(name, command);
    }
    unknown_option(name, command);
  } catch (const po::invalid_command_line_syntax& e) {
    const std::string name = e.get_option_name();
    const OptionSpec* option = find_option(name.substr(name.find_first_not_of('-')));
    if (option != nullptr && option->arity == Arity::kFlag) {
      usage_error("option '" + name + "' takes no value", "leave out what follows the '='");
    }
    usage_error("option '" + name + "' needs a value",
                "write " + name + " " + std::string(option == nullptr ? "VALUE" : option->value));
  }
}

Arguments sort(const CommandSpec& command, const po::parsed_options& parsed) {
  Arguments args{&command, {}, {}};
  for (const po::option& o : parsed.options) {
    if (o.string_key == kPositional) {
      args.positional.insert(args.positional.end(), o.value.begin(), o.value.end());
      continue;
    }
    std::vector<std::string>& values = args.values[o.string_key];
    const OptionSpec* spec = find_option(o.string_key);
    if (!values.empty() && spec->arity == Arity::kValue && values.back() != o.value.back()) {
      usage_error("option '--" + o.string_key + "' is given twice, as '" + values.back() +
                      "' and as '" + o.value.back() + "'",
                  "keep one of the two");
    }
    values.insert(values.end(), o.value.begin(), o.value.end());
  }
  return args;
}

void check_count(const Arguments& args) {
  const CommandSpec& c = *args.command;
  const auto wanted = static_cast<size_t>(c.n_arguments);
  if (args.positional.size() < wanted) {
    usage_error("'" + std::string(c.name) + "' needs " + std::string(c.arguments),
                "'mopt-host " + std::string(c.name) + " --help' shows an example");
  }
  if (args.positional.size() > wanted) {
    usage_error("unexpected argument '" + args.positional[wanted] + "'",
                wanted == 0 ? "this command takes options only"
                            : "'" + std::string(c.name) + "' takes " + std::string(c.arguments));
  }
}

}  // namespace

void usage_error(std::string message, std::string remedy) {
  Diagnostic d;
  d.code = "U101";
  d.message = std::move(message);
  d.remedy = std::move(remedy);
  throw Failure(std::move(d));
}

void refuse_chat() {
  usage_error("--chat is not yet available",
              "apply the model's chat template elsewhere and give its text or ids");
}

std::optional<std::string> Arguments::value(std::string_view option) const {
  const auto found = values.find(option);
  if (found == values.end()) return {};
  return found->second.back();
}

std::vector<std::string> Arguments::list(std::string_view option) const {
  const auto found = values.find(option);
  return found == values.end() ? std::vector<std::string>{} : found->second;
}

Arguments read_arguments(const std::vector<std::string>& given) {
  std::vector<std::string> words = given;
  std::ranges::replace(words, std::string("-h"), std::string("--help"));
  const CommandSpec& command = take_command(words);
  Arguments args = sort(command, parse(command, words));
  if (!args.has("help") && !args.has("version")) check_count(args);
  return args;
}

}  // namespace mopt::cli
