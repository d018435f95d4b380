#include "host/cli/run.hpp"

#include <algorithm>

#include "host/cli/app.hpp"
#include "host/cli/commands.hpp"
#include "host/cli/faults.hpp"
#include "host/cli/help.hpp"
#include "host/cli/parse.hpp"
#include "host/report/version.hpp"

namespace mopt::cli {
namespace {

Exit execute(App& app, const JobOptions& o) {
  return run_job(app, o);
}
Exit execute(App& app, const PluginsOptions& o) {
  return run_plugins(app, o);
}
Exit execute(App& app, const ExplainOptions& o) {
  return run_explain(app, o);
}
Exit execute(App& app, const InspectOptions& o) {
  return run_inspect(app, o);
}
Exit execute(App& app, const VerifyOptions& o) {
  return run_verify(app, o);
}
Exit execute(App& app, const EvalOptions& o) {
  return run_eval(app, o);
}
Exit execute(App& app, const LogitsOptions& o) {
  return run_logits(app, o);
}
Exit execute(App& app, const GenerateOptions& o) {
  return run_generate(app, o);
}
Exit execute(App& app, const TokenizeOptions& o) {
  return run_tokenize(app, o);
}
Exit execute(App& app, const ConvertOptions& o) {
  return run_convert(app, o);
}
Exit execute(App& app, const DiffOptions& o) {
  return run_diff(app, o);
}
// These two never come so far.
Exit execute(App&, const HelpOptions&) {
  return Exit::kBug;
}
Exit execute(App&, const VersionOptions&) {
  return Exit::kBug;
}

// Help and version need nothing of an App.
void print_about(Console& console, const Invocation& invocation) {
  if (std::holds_alternative<VersionOptions>(invocation.command)) {
    console.text("mopt-host " + std::string(version()) + " (commit " + std::string(commit()) +
                 ", plugin ABI " + std::to_string(MOPT_ABI_MAJOR) + "." +
                 std::to_string(MOPT_ABI_MINOR) + ")\n");
    return;
  }
  const CommandSpec* command = find_command(std::get<HelpOptions>(invocation.command).command);
  console.text(command_help(*command, console.width()));
}

// A plan says what a device would be needed for; it needs none.
bool only_plans(const Invocation& invocation) {
  const auto* job = std::get_if<JobOptions>(&invocation.command);
  return job != nullptr && job->mode == RunMode::kCheck;
}

Exit dispatch(Console& console, const Process& process, const Invocation& invocation) {
  if (std::holds_alternative<VersionOptions>(invocation.command) ||
      std::holds_alternative<HelpOptions>(invocation.command)) {
    print_about(console, invocation);
    return Exit::kDone;
  }
  App app(invocation.common, console, process);
  if (!only_plans(invocation)) app.require_device();
  Exit exit = Exit::kBug;
  app.threads().run([&] {
    try {
      exit = std::visit([&](const auto& options) { return execute(app, options); },
                        invocation.command);
    } catch (const Error& e) {
      if (e.code() != MOPT_DEVICE || app.device() == nullptr) throw;
      throw Failure(device_fault(e, app.device()->info().name));
    }
  });
  return exit;
}

// Results that did not arrive are a failure, unless nobody wanted them.
Exit delivered(Console& console, Exit exit) {
  if (!console.output_failed() || exit != Exit::kDone) return exit;
  Diagnostic d;
  d.code = "R106";
  d.message = "standard output could not be written";
  d.remedy = "check the disk or the program that reads it";
  console.report(d);
  return Exit::kResources;
}

// A command line that cannot be read may still have asked for JSON or for no colour.
CommonOptions options_of_unreadable(const std::vector<std::string>& words) {
  CommonOptions options;
  if (std::ranges::find(words, "--json") != words.end()) options.output = OutputKind::kJson;
  return options;
}

}  // namespace

int run(const std::vector<std::string>& words, const Process& process) {
  Invocation invocation;
  try {
    invocation = parse_command_line(words);
  } catch (...) {
    const Verdict verdict = judge(std::current_exception());
    Console(process.out, process.err, options_of_unreadable(words)).fail(verdict.diagnostics);
    return static_cast<int>(verdict.exit);
  }
  Console console(process.out, process.err, invocation.common);
  try {
    return static_cast<int>(delivered(console, dispatch(console, process, invocation)));
  } catch (...) {
    const Verdict verdict = judge(std::current_exception());
    console.fail(verdict.diagnostics);
    return static_cast<int>(verdict.exit);
  }
}

}  // namespace mopt::cli
