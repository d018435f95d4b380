#include "host/cli/parse.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <utility>

#include "host/cli/arguments.hpp"

namespace mopt::cli {
namespace {

[[noreturn]] void bad_value(std::string_view option, const std::string& found,
                            const std::string& expected) {
  usage_error("--" + std::string(option) + ": expected " + expected + ", found '" + found + "'",
              "'mopt-host --help' and 'mopt-host COMMAND --help' say what it takes");
}

template <class T>
std::optional<T> number(std::string_view text) {
  T value{};
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (fault != std::errc{} || end != text.data() + text.size()) return {};
  return value;
}

int64_t whole_number(const Arguments& args, std::string_view option, int64_t least,
                     int64_t otherwise) {
  const std::optional<std::string> text = args.value(option);
  if (!text) return otherwise;
  const std::optional<int64_t> value = number<int64_t>(*text);
  if (!value || *value < least) {
    bad_value(option, *text, "a whole number of at least " + std::to_string(least));
  }
  return *value;
}

struct Interval {
  double above, upto;
  const char* words;
  enum class Lower { kOpen, kClosed } lower;
};

double real_number(const Arguments& args, std::string_view option, const Interval& allowed,
                   double otherwise) {
  const std::optional<std::string> text = args.value(option);
  if (!text) return otherwise;
  const std::optional<double> value = number<double>(*text);
  const bool closed = allowed.lower == Interval::Lower::kClosed;
  if (!value || !std::isfinite(*value) || *value > allowed.upto || *value < allowed.above ||
      (!closed && *value == allowed.above)) {
    bad_value(option, *text, allowed.words);
  }
  return *value;
}

template <class T>
T choice(const Arguments& args, std::string_view option,
         std::initializer_list<std::pair<std::string_view, T>> choices, T otherwise) {
  const std::optional<std::string> text = args.value(option);
  if (!text) return otherwise;
  std::string names;
  for (const auto& [name, value] : choices) {
    if (name == *text) return value;
    names += (names.empty() ? "" : ", ") + std::string(name);
  }
  bad_value(option, *text, "one of " + names);
}

std::optional<std::filesystem::path> path_of(const Arguments& args, std::string_view option) {
  const std::optional<std::string> text = args.value(option);
  if (!text) return {};
  if (text->empty()) bad_value(option, *text, "a path");
  return *text;
}

// At most one of the options; `least` of them required.
void exclusive(const Arguments& args, std::initializer_list<std::string_view> options,
               size_t least) {
  std::string given, all;
  size_t count = 0;
  for (const std::string_view o : options) {
    all += (all.empty() ? "--" : ", --") + std::string(o);
    if (!args.has(o)) continue;
    given += (given.empty() ? "--" : " and --") + std::string(o);
    ++count;
  }
  if (count > 1) usage_error(given + " exclude each other", "keep one of them");
  if (count < least) {
    usage_error("'" + std::string(args.command->name) + "' needs one of " + all,
                "'mopt-host " + std::string(args.command->name) + " --help' shows an example");
  }
}

std::string required(const Arguments& args, std::string_view option, const char* placeholder) {
  const std::optional<std::string> text = args.value(option);
  if (!text) {
    usage_error("'" + std::string(args.command->name) + "' needs --" + std::string(option),
                "add --" + std::string(option) + " " + placeholder);
  }
  if (text->empty()) bad_value(option, *text, placeholder);
  return *text;
}

Precision precision_of(const Arguments& args) {
  return choice<Precision>(args, "dtype",
                           {{"bf16", Precision::kBf16}, {"float32", Precision::kFloat32}},
                           Precision::kModel);
}

bool is_device(std::string_view text) {
  if (text == "cpu" || text == "auto" || text == "cuda") return true;
  return text.starts_with("cuda:") && number<uint16_t>(text.substr(5)).has_value();
}

CommonOptions common_of(const Arguments& args) {
  CommonOptions c;
  for (const std::string& dir : args.list("plugin-dir"))
    c.plugin_dirs.emplace_back(dir);
  for (const std::string& file : args.list("plugin"))
    c.plugins.emplace_back(file);
  if (const auto device = args.value("device")) {
    if (!is_device(*device)) bad_value("device", *device, "cpu, cuda, cuda:N or auto");
    c.device = *device;
  }
  constexpr int64_t kMostThreads = 4096;
  const int64_t threads = whole_number(args, "threads", 1, 0);
  if (threads > kMostThreads) bad_value("threads", *args.value("threads"), "at most 4096");
  c.threads = static_cast<int>(threads);
  if (const auto size = args.value("memory-limit")) {
    c.memory_limit = parse_size("memory-limit", *size);
  }
  if (const auto size = args.value("device-memory-limit")) {
    c.device_memory_limit = parse_size("device-memory-limit", *size);
  }
  c.kernels = args.list("kernel");
  exclusive(args, {"quiet", "verbose"}, 0);
  c.output = args.has("json") ? OutputKind::kJson : OutputKind::kText;
  c.verbosity = args.has("quiet")     ? Verbosity::kQuiet
                : args.has("verbose") ? Verbosity::kVerbose
                                      : Verbosity::kNormal;
  c.color = choice<ColorMode>(
      args, "color",
      {{"auto", ColorMode::kAuto}, {"always", ColorMode::kAlways}, {"never", ColorMode::kNever}},
      ColorMode::kAuto);
  return c;
}

Command job_of(const Arguments& args) {
  if (!args.has("recipe")) {
    usage_error("nothing to do: neither a command nor --recipe is given",
                "'mopt-host --help' lists the commands");
  }
  JobOptions o;
  o.recipe = *args.value("recipe");
  if (o.recipe.empty()) bad_value("recipe", o.recipe, "a file or a name of the library");
  if (const auto model = path_of(args, "model")) o.model = model->string();
  if (const auto output = path_of(args, "output")) o.output = output->string();
  o.sets = args.list("set");
  o.mode = args.has("check") ? RunMode::kCheck : RunMode::kRun;
  exclusive(args, {"resume", "restart"}, 0);
  exclusive(args, {"resume", "check"}, 0);
  o.unfinished = args.has("resume")    ? Unfinished::kResume
                 : args.has("restart") ? Unfinished::kRestart
                                       : Unfinished::kRefuse;
  o.existing = args.has("overwrite") ? Existing::kOverwrite : Existing::kRefuse;
  return o;
}

Command verify_of(const Arguments& args) {
  VerifyOptions o{args.positional[0], path_of(args, "source"), args.list("engine")};
  constexpr std::string_view kEngines[] = {"vllm", "sglang", "tensorrt-llm", "transformers",
                                           "llama.cpp"};
  for (const std::string& engine : o.engines) {
    if (std::ranges::find(kEngines, engine) == std::end(kEngines)) {
      bad_value("engine", engine, "one of vllm, sglang, tensorrt-llm, transformers, llama.cpp");
    }
  }
  return o;
}

Command eval_of(const Arguments& args) {
  exclusive(args, {"ids", "text"}, 1);
  EvalOptions o;
  o.path = args.positional[0];
  o.ids = args.value("ids");
  o.text = args.value("text");
  o.window = whole_number(args, "window", 2, o.window);
  if (args.has("max-tokens")) o.max_tokens = whole_number(args, "max-tokens", 1, 1);
  o.reference = path_of(args, "reference");
  o.precision = precision_of(args);
  return o;
}

Command generate_of(const Arguments& args) {
  exclusive(args, {"prompt", "prompt-ids", "chat"}, 1);
  GenerateOptions o;
  o.path = args.positional[0];
  o.prompt = args.value("prompt");
  if (const auto ids = args.value("prompt-ids")) o.prompt_ids = parse_ids("prompt-ids", *ids);
  o.chat = path_of(args, "chat");
  o.max_new_tokens = whole_number(args, "max-new-tokens", 1, o.max_new_tokens);
  constexpr double kAny = std::numeric_limits<double>::max();
  o.temperature = real_number(args, "temperature",
                              {0, kAny, "a number of at least 0", Interval::Lower::kClosed}, 0);
  o.top_p = real_number(args, "top-p",
                        {0, 1, "a number above 0 and at most 1", Interval::Lower::kOpen}, 1);
  o.seed = static_cast<uint64_t>(whole_number(args, "seed", 0, 0));
  o.precision = precision_of(args);
  return o;
}

Command tokenize_of(const Arguments& args) {
  exclusive(args, {"chat", "decode"}, 0);
  exclusive(args, {"chat", "jsonl"}, 0);
  TokenizeOptions o;
  o.path = args.positional[0];
  o.mode = args.has("decode") ? TokenizeMode::kDecode : TokenizeMode::kEncode;
  o.lines = args.has("jsonl") ? LineFormat::kJson : LineFormat::kPlain;
  o.special = args.has("no-special") ? SpecialTokens::kSkip : SpecialTokens::kKeep;
  o.chat = path_of(args, "chat");
  return o;
}

Command convert_of(const Arguments& args) {
  ConvertOptions o{args.positional[0], args.positional[1], TargetType::kKeep};
  o.type = choice<TargetType>(args, "dtype",
                              {{"bf16", TargetType::kBf16},
                               {"float16", TargetType::kFloat16},
                               {"float32", TargetType::kFloat32},
                               {"keep", TargetType::kKeep}},
                              TargetType::kKeep);
  return o;
}

Command diff_of(const Arguments& args) {
  DiffOptions o{args.positional[0], args.positional[1], {}};
  if (args.has("max-rows")) o.max_rows = whole_number(args, "max-rows", 1, 1);
  return o;
}

Command command_of(const Arguments& args) {
  const std::string_view name = args.command->name;
  if (args.has("help")) return HelpOptions{std::string(name)};
  if (args.has("version")) return VersionOptions{};
  if (name.empty()) return job_of(args);
  if (name == "plugins") return PluginsOptions{};
  if (name == "explain") return ExplainOptions{args.positional[0]};
  if (name == "inspect") {
    return InspectOptions{args.positional[0],
                          args.has("tensors") ? TensorList::kAll : TensorList::kFirst};
  }
  if (name == "verify") return verify_of(args);
  if (name == "eval") return eval_of(args);
  if (name == "logits") {
    return LogitsOptions{args.positional[0], required(args, "ids", "FILE[:KEY]"),
                         required(args, "out", "FILE"), precision_of(args)};
  }
  if (name == "generate") return generate_of(args);
  if (name == "tokenize") return tokenize_of(args);
  if (name == "convert") return convert_of(args);
  return diff_of(args);
}

// The same run with --resume, which --restart excludes.
std::vector<std::string> resuming(std::vector<std::string> words) {
  std::erase(words, "--restart");
  if (std::ranges::find(words, "--resume") == words.end()) words.push_back("--resume");
  return words;
}

}  // namespace

uint64_t parse_size(std::string_view option, const std::string& text) {
  constexpr std::pair<std::string_view, double> kUnits[] = {
      {"", 1},      {"B", 1},        {"kB", 1e3},     {"KB", 1e3},     {"MB", 1e6},    {"GB", 1e9},
      {"TB", 1e12}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}};
  const size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  const std::optional<double> value = number<double>(std::string_view(text).substr(0, digits));
  const auto* unit = std::ranges::find_if(
      kUnits, [&](const auto& u) { return u.first == std::string_view(text).substr(digits); });
  constexpr double kMost = 0x1p62;
  const bool known = value.has_value() && unit != std::end(kUnits);
  if (!known || *value * unit->second < 1 || *value * unit->second > kMost) {
    bad_value(option, text, "a size such as 8GiB, 512MiB, 4GB or 1000 (bytes)");
  }
  return static_cast<uint64_t>(*value * unit->second);
}

std::vector<int64_t> parse_ids(std::string_view option, const std::string& text) {
  std::vector<int64_t> ids;
  std::string_view rest = text;
  for (bool more = true; more;) {
    const size_t comma = rest.find(',');
    std::string_view one = rest.substr(0, comma);
    while (one.starts_with(' '))
      one.remove_prefix(1);
    while (one.ends_with(' '))
      one.remove_suffix(1);
    const std::optional<int64_t> id = number<int64_t>(one);
    if (!id || *id < 0) bad_value(option, text, "ids such as 1,2,3");
    ids.push_back(*id);
    more = comma != std::string_view::npos;
    if (more) rest = rest.substr(comma + 1);
  }
  return ids;
}

std::string quoted_command(const std::vector<std::string>& words) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./=:,@%+";
  std::string line = "mopt-host";
  for (const std::string& word : words) {
    line += ' ';
    if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) {
      line += word;
      continue;
    }
    line += '\'';
    for (const char c : word)
      line += c == '\'' ? std::string("'\\''") : std::string(1, c);
    line += '\'';
  }
  return line;
}

Invocation parse_command_line(const std::vector<std::string>& words) {
  const Arguments args = read_arguments(words);
  Invocation invocation{common_of(args), command_of(args)};
  if (auto* job = std::get_if<JobOptions>(&invocation.command)) {
    job->command_line = quoted_command(words);
    job->resume_command = quoted_command(resuming(words));
  }
  return invocation;
}

}  // namespace mopt::cli
