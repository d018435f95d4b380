#include "host/cli/parse.hpp"

#include <doctest/doctest.h>

#include "host/cli/arguments.hpp"
#include "host/recipe/diagnostic.hpp"

using namespace mopt;
using namespace mopt::cli;

namespace {

using Words = std::vector<std::string>;

template <class T>
T parsed(const Words& words) {
  return std::get<T>(parse_command_line(words).command);
}

CommonOptions common(const Words& more) {
  Words words = {"plugins"};
  words.insert(words.end(), more.begin(), more.end());
  return parse_command_line(words).common;
}

// The refusal of a command line; empty when it is accepted.
std::string refusal(const Words& words) {
  try {
    parse_command_line(words);
  } catch (const Failure& f) {
    CHECK(f.exit() == Exit::kRecipe);
    CHECK(f.diagnostics().size() == 1);
    CHECK(f.diagnostics()[0].code == "U101");
    CHECK_FALSE(f.diagnostics()[0].remedy.empty());
    return f.what();
  }
  return {};
}

bool mentions(const std::string& text, const Words& pieces) {
  for (const std::string& piece : pieces) {
    if (text.find(piece) == std::string::npos) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("the main job takes its options in any order and form") {
  const auto o = parsed<JobOptions>({"--output=out", "--recipe", "fp8", "--set", "a.b=1", "--model",
                                     "m", "--set", "c=[1, 2]", "--overwrite", "--resume"});
  CHECK(o.recipe == "fp8");
  CHECK(o.model == "m");
  CHECK(o.output == "out");
  CHECK(o.sets == Words{"a.b=1", "c=[1, 2]"});
  CHECK(o.mode == RunMode::kRun);
  CHECK(o.unfinished == Unfinished::kResume);
  CHECK(o.existing == Existing::kOverwrite);
  CHECK(parsed<JobOptions>({"--check", "--recipe", "x"}).mode == RunMode::kCheck);
  CHECK(parsed<JobOptions>({"--restart", "--recipe", "x"}).unfinished == Unfinished::kRestart);
}

TEST_CASE("common options may stand before and after the command") {
  for (const Words& words : {Words{"--json", "--threads", "3", "inspect", "m"},
                             Words{"inspect", "m", "--json", "--threads", "3"},
                             Words{"--json", "inspect", "--threads=3", "m"}}) {
    const Invocation i = parse_command_line(words);
    CHECK(i.common.output == OutputKind::kJson);
    CHECK(i.common.threads == 3);
    CHECK(std::get<InspectOptions>(i.command).path == "m");
  }
}

TEST_CASE("common options have the contract's defaults") {
  const CommonOptions c = common({});
  CHECK(c.device == "auto");
  CHECK(c.threads == 0);
  CHECK_FALSE(c.memory_limit.has_value());
  CHECK(c.output == OutputKind::kText);
  CHECK(c.verbosity == Verbosity::kNormal);
  CHECK(c.color == ColorMode::kAuto);
}

TEST_CASE("repeatable options keep their order") {
  const CommonOptions c =
      common({"--plugin-dir", "a", "--plugin", "x.so", "--plugin-dir=b", "--kernel", "k"});
  CHECK(c.plugin_dirs == std::vector<std::filesystem::path>{"a", "b"});
  CHECK(c.plugins == std::vector<std::filesystem::path>{"x.so"});
  CHECK(c.kernels == Words{"k"});
}

TEST_CASE("sizes are in decimal and binary units") {
  CHECK(parse_size("o", "1000") == 1000);
  CHECK(parse_size("o", "8GiB") == uint64_t{8} << 30);
  CHECK(parse_size("o", "512MiB") == uint64_t{512} << 20);
  CHECK(parse_size("o", "4GB") == 4'000'000'000);
  CHECK(parse_size("o", "1.5KiB") == 1536);
  CHECK(parse_size("o", "2TiB") == uint64_t{2} << 40);
  CHECK(parse_size("o", "7kB") == 7000);
  for (const char* bad : {"", "lots", "8G", "-1", "0", "1e9", "8 GiB", "GiB", "99999999TiB"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(parse_size("o", bad), Failure);
  }
}

TEST_CASE("ids are separated by commas") {
  CHECK(parse_ids("o", "1,2, 3") == std::vector<int64_t>{1, 2, 3});
  for (const char* bad : {"", "1,,2", "a", "-1", "1,", "1 2", "99999999999999999999"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(parse_ids("o", bad), Failure);
  }
}

TEST_CASE("a misspelled option or command is named with the nearest one") {
  CHECK(mentions(refusal({"--recipe", "fp8", "--modle", "m"}), {"'--modle'", "'--model'"}));
  CHECK(mentions(refusal({"verifi", "out"}), {"'verifi'", "'verify'"}));
  CHECK(mentions(refusal({"eval", "m", "--idz=x"}), {"'--idz'", "'--ids'"}));
  CHECK(mentions(refusal({"plugins", "-x"}), {"-x"}));
}

TEST_CASE("an option of another command says whose it is") {
  CHECK(mentions(refusal({"plugins", "--ids", "f"}), {"'plugins'", "'--ids'", "'eval'"}));
  CHECK(mentions(refusal({"eval", "m", "--recipe", "f"}), {"--recipe", "main job"}));
}

TEST_CASE("a missing or unexpected value is named") {
  CHECK(mentions(refusal({"--recipe"}), {"--recipe"}));
  CHECK(mentions(refusal({"plugins", "--json=yes"}), {"--json"}));
  CHECK(mentions(refusal({"explain"}), {"'explain'", "NAME"}));
  CHECK(mentions(refusal({"convert", "a"}), {"SRC DST"}));
  CHECK(mentions(refusal({"inspect", "a", "b"}), {"'b'"}));
  CHECK(mentions(refusal({"plugins", "a"}), {"'a'"}));
  CHECK(mentions(refusal({}), {"--help"}));
  CHECK(mentions(refusal({""}), {"unknown command"}));
}

TEST_CASE("a stray word after --recipe is not taken for a command") {
  CHECK(mentions(refusal({"--recipe", "fp8", "model"}), {"'model'", "--model"}));
}

TEST_CASE("an option that is given twice with two values is refused") {
  CHECK(mentions(refusal({"--recipe", "a", "--recipe", "b"}), {"--recipe", "'a'", "'b'"}));
  CHECK(refusal({"--recipe", "a", "--recipe", "a"}).empty());
}

TEST_CASE("bad values of common options are named") {
  CHECK(mentions(refusal({"plugins", "--color", "purple"}), {"--color", "purple", "always"}));
  CHECK(mentions(refusal({"plugins", "--threads", "0"}), {"--threads", "'0'"}));
  CHECK(mentions(refusal({"plugins", "--threads", "two"}), {"--threads", "'two'"}));
  CHECK(mentions(refusal({"plugins", "--threads", "5000"}), {"--threads", "4096"}));
  CHECK(mentions(refusal({"plugins", "--device", "tpu"}), {"--device", "'tpu'"}));
  CHECK(mentions(refusal({"plugins", "--device", "cuda:x"}), {"--device"}));
  CHECK(mentions(refusal({"plugins", "--memory-limit", "lots"}), {"--memory-limit", "8GiB"}));
  CHECK(refusal({"plugins", "--device", "cuda:1"}).empty());
}

TEST_CASE("options that exclude each other are refused") {
  CHECK(mentions(refusal({"plugins", "--quiet", "--verbose"}), {"--quiet", "--verbose"}));
  CHECK(mentions(refusal({"--recipe", "x", "--resume", "--restart"}), {"--resume", "--restart"}));
  CHECK(mentions(refusal({"eval", "m"}), {"--ids", "--text"}));
  CHECK(mentions(refusal({"eval", "m", "--ids", "a", "--text", "b"}), {"--ids", "--text"}));
  CHECK(mentions(refusal({"generate", "m"}), {"--prompt", "--prompt-ids", "--chat"}));
  CHECK(mentions(refusal({"generate", "m", "--prompt", "a", "--chat", "b"}), {"--chat"}));
  CHECK(mentions(refusal({"tokenize", "m", "--chat", "a", "--decode"}), {"--chat", "--decode"}));
}

TEST_CASE("commands have the contract's defaults") {
  const auto e = parsed<EvalOptions>({"eval", "m", "--ids", "f:k"});
  CHECK(e.window == 512);
  CHECK_FALSE(e.max_tokens.has_value());
  CHECK(e.precision == Precision::kModel);
  const auto g = parsed<GenerateOptions>({"generate", "m", "--prompt", ""});
  CHECK(g.prompt == "");
  CHECK(g.max_new_tokens == 128);
  CHECK(g.temperature == 0);
  const auto t = parsed<TokenizeOptions>({"tokenize", "m"});
  CHECK(t.special == SpecialTokens::kKeep);
  CHECK(t.lines == LineFormat::kPlain);
  CHECK(parsed<ConvertOptions>({"convert", "a", "b"}).type == TargetType::kKeep);
  CHECK_FALSE(parsed<DiffOptions>({"diff", "a", "b"}).max_rows.has_value());
}

TEST_CASE("values of commands are checked") {
  CHECK(mentions(refusal({"eval", "m", "--ids", "a", "--window", "1"}), {"--window", "'1'"}));
  CHECK(mentions(refusal({"generate", "m", "--prompt", "a", "--temperature", "-1"}),
                 {"--temperature", "'-1'"}));
  CHECK(mentions(refusal({"generate", "m", "--prompt", "a", "--top-p", "0"}), {"--top-p"}));
  CHECK(mentions(refusal({"generate", "m", "--prompt", "a", "--top-p", "nan"}), {"--top-p"}));
  CHECK(mentions(refusal({"generate", "m", "--prompt-ids", "1,x"}), {"--prompt-ids", "1,x"}));
  CHECK(mentions(refusal({"convert", "a", "b", "--dtype", "int3"}), {"--dtype", "float16"}));
  CHECK(mentions(refusal({"verify", "a", "--engine", "vlm"}), {"--engine", "'vlm'", "vllm"}));
  CHECK(mentions(refusal({"logits", "m", "--ids", "a"}), {"--out"}));
  CHECK(parsed<GenerateOptions>({"generate", "m", "--prompt", "a", "--top-p=0.9"}).top_p == 0.9);
}

TEST_CASE("--help and --version ask for nothing else") {
  CHECK(parsed<HelpOptions>({"--help"}).command.empty());
  CHECK(parsed<HelpOptions>({"-h"}).command.empty());
  CHECK(parsed<HelpOptions>({"convert", "--help"}).command == "convert");
  CHECK(parsed<HelpOptions>({"--help", "eval"}).command == "eval");
  CHECK_NOTHROW(parsed<VersionOptions>({"--version"}));
}

TEST_CASE("every command of the grammar can be asked for its help") {
  for (const CommandSpec& c : commands().subspan(1)) {
    const std::string name(c.name);
    CHECK(parsed<HelpOptions>({name, "--help"}).command == name);
  }
}

TEST_CASE("the command line of a report can be pasted into a shell") {
  CHECK(quoted_command({"--recipe", "fp8", "--set", "a.b=[1, 2]"}) ==
        "mopt-host --recipe fp8 --set 'a.b=[1, 2]'");
  CHECK(quoted_command({"it's", "", "$x"}) == "mopt-host 'it'\\''s' '' '$x'");
  CHECK(parsed<JobOptions>({"--recipe", "a b"}).command_line == "mopt-host --recipe 'a b'");
  CHECK(parsed<JobOptions>({"--recipe", "a b"}).resume_command ==
        "mopt-host --recipe 'a b' --resume");
  CHECK(parsed<JobOptions>({"--recipe", "a", "--restart"}).resume_command ==
        "mopt-host --recipe a --resume");
  CHECK(parsed<JobOptions>({"--recipe", "a", "--resume"}).resume_command ==
        "mopt-host --recipe a --resume");
}
