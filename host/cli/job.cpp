// The main job.
#include <fstream>
#include <iterator>
#include <set>

#include "host/cli/commands.hpp"
#include "host/cli/faults.hpp"
#include "host/cli/layout.hpp"
#include "host/cli/plan_text.hpp"
#include "host/cli/signals.hpp"
#include "host/pipeline/activation_budget.hpp"
#include "host/pipeline/resources.hpp"
#include "host/pipeline/run.hpp"
#include "host/report/version.hpp"

namespace mopt::cli {
namespace {

namespace fs = std::filesystem;
using pipeline::Prepared;

RecipeRequest recipe_request(const App& app, const JobOptions& options) {
  RecipeRequest request;
  request.name = options.recipe;
  request.sets = options.sets;
  request.library = app.recipe_library();
  if (options.model) request.overrides.push_back({"model.path", *options.model, "--model"});
  if (options.output) request.overrides.push_back({"export.path", *options.output, "--output"});
  return request;
}

// The choice of a bare name; a path needs no word.
void say_recipe(App& app, const JobOptions& options, const Prepared& job) {
  if (options.recipe == job.recipe.file) return;
  app.console().note("recipe " + printable(options.recipe + ": " + job.recipe.file));
}

std::vector<Diagnostic> early_warnings(const Prepared& job) {
  std::vector<Diagnostic> all = job.recipe.warnings;
  all.insert(all.end(), job.plan.warnings.begin(), job.plan.warnings.end());
  return all;
}

// Warnings of the report that nobody has seen yet.
class Seen {
 public:
  void show(Console& console, const std::vector<Diagnostic>& warnings) {
    for (const Diagnostic& d : warnings) {
      if (lines_.insert(format(d)).second) console.report(d);
    }
  }
  // Was printed elsewhere.
  void add(const std::vector<Diagnostic>& warnings) {
    for (const Diagnostic& d : warnings)
      lines_.insert(format(d));
  }

 private:
  std::set<std::string> lines_;
};

pipeline::RunRequest run_request(App& app, const JobOptions& options, Seen& seen) {
  pipeline::RunRequest request;
  request.unfinished = options.unfinished == Unfinished::kResume    ? pipeline::Unfinished::kResume
                       : options.unfinished == Unfinished::kRestart ? pipeline::Unfinished::kRestart
                                                                    : pipeline::Unfinished::kRefuse;
  request.existing = options.existing == Existing::kOverwrite ? pipeline::Existing::kOverwrite
                                                              : pipeline::Existing::kRefuse;
  request.memory_limit = app.options().memory_limit;
  request.kernels = app.kernels();
  request.command = options.command_line;
  request.resume_command = options.resume_command;
  request.version = version();
  request.commit = commit();
  request.device = app.device_text();
  request.on_device = app.device();
  request.opened_bytes = app.opened_bytes();
  request.threads = compute::thread_count();
  request.interrupts = &interrupts();
  request.progress = &app.console().progress();
  request.plugin_warnings = [&app, &seen] {
    std::vector<Diagnostic> warnings = app.take_warnings();
    seen.add(warnings);
    return warnings;
  };
  request.say = [&app](const std::string& decision) { app.console().detail(printable(decision)); };
  return request;
}

std::string summary(const Report& r) {
  const auto before = static_cast<double>(r.model.bytes);
  const auto after = static_cast<double>(r.output.bytes);
  std::string out = printable(r.output.path) + ": " + bytes_text(before) + " -> " +
                    bytes_text(after) + ", " + measure_text(r.output.bits_per_weight) +
                    " bits per weight, in " + duration_text(r.seconds.total) + " with " +
                    bytes_text(static_cast<double>(r.memory.peak_bytes)) + " of memory\n";
  for (const Report::Eval& e : r.eval) {
    out += printable(e.id) + ": perplexity " + measure_text(e.perplexity) + ", source " +
           measure_text(e.reference_perplexity) + ", ratio " + measure_text(e.ratio) + "\n";
  }
  return out + "report: " + printable((fs::path(r.output.path) / "mopt/report.html").string()) +
         "\n";
}

// report.json of a finished output.
std::string finished_report(const Prepared& job) {
  const fs::path file = fs::path(job.recipe.output.path->value) / "mopt/report.json";
  std::ifstream in(file, std::ios::binary);
  if (!in) {
    throw Error(MOPT_NOT_FOUND,
                "the output is there, but no report of ours; it was made by "
                "another program: choose another --output",
                file.string());
  }
  return {std::istreambuf_iterator<char>(in), {}};
}

// Throws Failure R101.
PlannedMemory planned_memory(const App& app, const Prepared& job) {
  const CommonOptions& options = app.options();
  std::optional<pipeline::DevicePlace> place;
  if (app.expects_device()) place.emplace();
  const pipeline::MemoryNeeds needs = pipeline::memory_needs(job, place);
  pipeline::check_memory(job, needs, {options.memory_limit, options.device_memory_limit});
  if (!needs.device) return {needs.process, job.plan.cost.block_memory, std::nullopt};
  const uint64_t room = options.device_memory_limit.value_or(UINT64_MAX);
  return {needs.process + pipeline::pinned_at_most(needs, room, options.memory_limit),
          needs.device->block, pipeline::device_peak(*needs.device, options.device_memory_limit)};
}

Exit check(App& app, const JobOptions& options) {
  Console& console = app.console();
  const RecipeRequest request = recipe_request(app, options);
  try {
    const Prepared job = pipeline::prepare(app.registry(), request);
    say_recipe(app, options, job);
    for (const Diagnostic& d : early_warnings(job))
      console.report(d);
    const PlannedMemory memory = planned_memory(app, job);
    if (app.json()) {
      console.document(plan_document(job, memory));
    } else {
      console.text(plan_page(job, memory, console.width()));
    }
    return Exit::kDone;
  } catch (const std::exception&) {
    if (!app.json()) throw;
    const Verdict verdict = judge(std::current_exception());
    console.document(
        failed_plan_document(options.recipe, options.model.value_or(""), verdict.diagnostics));
    throw;
  }
}

// A missed gate ends with 5, but the report is there and is what --json promises.
Report run_and_keep(App& app, const Prepared& job, const std::function<Report()>& run) {
  try {
    return run();
  } catch (const Failure& f) {
    if (app.json() && f.exit() == Exit::kAccuracy) app.console().document(finished_report(job));
    throw;
  }
}

}  // namespace

Exit run_job(App& app, const JobOptions& options) {
  if (options.mode == RunMode::kCheck) return check(app, options);
  watch_interrupts();
  Console& console = app.console();
  Seen seen;
  Prepared job = pipeline::prepare(app.registry(), recipe_request(app, options));
  say_recipe(app, options, job);
  console.note("device " + app.device_text());
  seen.show(console, early_warnings(job));
  if (job.plan.needs_data() || !job.recipe.evals.empty()) app.expect_forward();
  bool already = false;
  const Report report = run_and_keep(app, job, [&] {
    pipeline::RunResult result = pipeline::run(job, run_request(app, options, seen));
    already = result.already_finished;
    return std::move(result.report);
  });
  seen.show(console, report.warnings);
  if (already) {
    console.note("nothing to do: " + printable(job.recipe.output.path->value) + " is finished");
    if (app.json()) console.document(finished_report(job));
  } else if (app.json()) {
    console.document(to_json(report));
  } else {
    console.text(summary(report));
  }
  return Exit::kDone;
}

}  // namespace mopt::cli
