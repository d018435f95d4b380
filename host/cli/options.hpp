// What a command line asks for, as plain values.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace mopt::cli {

enum class OutputKind { kText, kJson };
enum class Verbosity { kQuiet, kNormal, kVerbose };
enum class ColorMode { kAuto, kAlways, kNever };
enum class Precision { kModel, kBf16, kFloat32 };  // --dtype of what computes

struct CommonOptions {
  std::vector<std::filesystem::path> plugin_dirs, plugins;
  std::string device = "auto";
  int threads = 0;                       // 0: the cores that this process may use
  std::optional<uint64_t> memory_limit;  // bytes
  std::optional<uint64_t> device_memory_limit;
  OutputKind output = OutputKind::kText;
  Verbosity verbosity = Verbosity::kNormal;
  ColorMode color = ColorMode::kAuto;
  std::vector<std::string> kernels;  // rows of the kernel tables that must run
};

enum class RunMode { kRun, kCheck };
enum class Unfinished { kRefuse, kResume, kRestart };  // what to do with DIR.partial
enum class Existing { kRefuse, kOverwrite };           // what to do with DIR

struct JobOptions {
  std::string command_line;    // as typed, quoted for a shell
  std::string resume_command;  // what continues this run after an interrupt, quoted too
  std::string recipe;
  std::optional<std::string> model, output;
  std::vector<std::string> sets;  // "a.b=value"
  RunMode mode = RunMode::kRun;
  Unfinished unfinished = Unfinished::kRefuse;
  Existing existing = Existing::kRefuse;
};

struct PluginsOptions {};

struct ExplainOptions {
  std::string name;
};

enum class TensorList { kFirst, kAll };
struct InspectOptions {
  std::filesystem::path path;
  TensorList tensors = TensorList::kFirst;
};

struct VerifyOptions {
  std::filesystem::path directory;
  std::optional<std::filesystem::path> source;
  std::vector<std::string> engines;
};

// FILE[:KEY] as written; whoever opens it decides whether a colon belongs to the file's name.
struct EvalOptions {
  std::filesystem::path path;
  std::optional<std::string> ids, text;  // exactly one
  int64_t window = 512;                  // tokens
  std::optional<int64_t> max_tokens;
  std::optional<std::filesystem::path> reference;
  Precision precision = Precision::kModel;
};

struct LogitsOptions {
  std::filesystem::path path;
  std::string ids;
  std::filesystem::path out;
  Precision precision = Precision::kModel;
};

struct GenerateOptions {
  std::filesystem::path path;
  std::optional<std::string> prompt;
  std::optional<std::vector<int64_t>> prompt_ids;
  std::optional<std::filesystem::path> chat;  // exactly one of the three
  int64_t max_new_tokens = 128;
  double temperature = 0;  // 0: greedy
  double top_p = 1;
  uint64_t seed = 0;
  Precision precision = Precision::kModel;
};

enum class TokenizeMode { kEncode, kDecode };
enum class LineFormat { kPlain, kJson };
enum class SpecialTokens { kKeep, kSkip };
struct TokenizeOptions {
  std::filesystem::path path;
  TokenizeMode mode = TokenizeMode::kEncode;
  LineFormat lines = LineFormat::kPlain;
  SpecialTokens special = SpecialTokens::kKeep;
  std::optional<std::filesystem::path> chat;
};

enum class TargetType { kBf16, kFloat16, kFloat32, kKeep };
struct ConvertOptions {
  std::filesystem::path source, target;
  TargetType type = TargetType::kKeep;
};

struct DiffOptions {
  std::filesystem::path a, b;
  std::optional<int64_t> max_rows;  // tensors listed at most
};

struct HelpOptions {
  std::string command;  // empty: the program
};
struct VersionOptions {};

using Command =
    std::variant<HelpOptions, VersionOptions, JobOptions, PluginsOptions, ExplainOptions,
                 InspectOptions, VerifyOptions, EvalOptions, LogitsOptions, GenerateOptions,
                 TokenizeOptions, ConvertOptions, DiffOptions>;

struct Invocation {
  CommonOptions common;
  Command command;
};

}  // namespace mopt::cli
