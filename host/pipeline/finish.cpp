#include "host/pipeline/finish.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <map>
#include <unordered_map>

#include "host/compute/memory.hpp"
#include "host/pipeline/calibrate.hpp"
#include "host/pipeline/evaluate.hpp"
#include "host/pipeline/verify.hpp"
#include "host/pipeline/windows.hpp"

namespace mopt::pipeline {
namespace {

namespace fs = std::filesystem;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void show(const RunRequest& request, const char* stage) {
  if (request.progress == nullptr) return;
  ProgressState state;
  state.role = stage;
  request.progress->block_done(state);
}

// What a rule's engine list asks for fails the run; the rest is a warning.
void verify_output(const Ending& e, const std::map<std::string, std::string>& written) {
  const auto start = std::chrono::steady_clock::now();
  const Timeline::Scope scope(&e.timeline, Phase::kVerify);
  show(e.request, "verify");
  VerifyRequest request{
      e.job.source->registry(), e.output.partial(), {}, e.job.source.get(), written};
  for (const PlacedText& engine : e.job.recipe.verify_engines)
    request.engines.push_back(engine.value);
  e.report.verify = verify(request);
  e.report.seconds.verify = seconds_since(start);
  for (const Diagnostic& d : e.report.verify->problems) {
    if (d.severity == Severity::kWarning) e.report.warnings.push_back(d);
  }
  if (e.report.verify->ok) return;
  std::vector<Diagnostic> errors;
  for (const Diagnostic& d : e.report.verify->problems) {
    if (d.severity == Severity::kError) errors.push_back(d);
  }
  throw Failure(std::move(errors));
}

std::optional<int64_t> value_of(const std::optional<Placed<int64_t>>& setting) {
  return setting ? std::optional(setting->value) : std::nullopt;
}

struct Evaluation {
  EvalOptions on_cpu, options;  // options: where the run computes
  std::function<void(const std::string&)> say;
};

// On the CPU where the device's memory is too small for it.
Scores evaluate_there(const Checkpoint& checkpoint, const TokenRows& windows, Evaluation& how) {
  if (how.options.forward.on_device == nullptr) return evaluate(checkpoint, windows, how.on_cpu);
  try {
    return evaluate(checkpoint, windows, how.options);
  } catch (const Error& e) {
    if (e.code() != MOPT_OUT_OF_MEMORY) throw;
    if (how.say) how.say(std::string("the model is evaluated on the CPU: ") + e.what());
  }
  how.options = how.on_cpu;
  return evaluate(checkpoint, windows, how.on_cpu);
}

Report::Eval run_eval(const Eval& eval, const Checkpoint& written, const Checkpoint& source,
                      Evaluation& options) {
  const TokenRows windows =
      eval_windows({eval.data.value, eval.window.value, value_of(eval.max_tokens)}, source);
  const Scores ours = evaluate_there(written, windows, options);
  const Scores theirs = evaluate_there(source, windows, options);
  Report::Eval out;
  out.id = eval.id;
  out.kind = eval.kind.value;
  out.data = eval.data.value;
  out.tokens = ours.tokens;
  out.nll = ours.nll;
  out.perplexity = ours.perplexity;
  out.reference_perplexity = theirs.perplexity;
  out.ratio = ours.perplexity / theirs.perplexity;
  if (eval.max_ratio) {
    out.max_ratio = eval.max_ratio->value;
    out.passed = out.ratio <= out.max_ratio;
  }
  return out;
}

std::vector<Diagnostic> run_evals(const Ending& e) {
  std::vector<Diagnostic> missed;
  if (e.job.recipe.evals.empty()) return missed;
  const auto start = std::chrono::steady_clock::now();
  const Timeline::Scope scope(&e.timeline, Phase::kEval);
  show(e.request, "eval");
  const auto written = Checkpoint::open(e.job.source->registry(), e.output.partial(),
                                        e.job.recipe.model.adapter.value);
  Evaluation how{{}, {}, e.request.say};
  how.on_cpu.forward.dtype = compute_type(*e.job.source);
  how.on_cpu.forward.kernels = e.request.kernels;
  how.options = how.on_cpu;
  how.options.use(e.request.on_device, e.job.source->registry().services());
  for (const Eval& eval : e.job.recipe.evals) {
    e.report.eval.push_back(run_eval(eval, *written, *e.job.source, how));
    const Report::Eval& result = e.report.eval.back();
    if (result.passed.value_or(true)) continue;
    Diagnostic d;
    d.code = "A101";
    d.file = eval.max_ratio->origin.file;
    d.line = eval.max_ratio->origin.line;
    d.column = eval.max_ratio->origin.column;
    d.message = "eval '" + eval.id + "': perplexity " + std::to_string(result.perplexity) + " is " +
                std::to_string(result.ratio) + " of the source's " +
                std::to_string(result.reference_perplexity) + ", expected at most " +
                std::to_string(result.max_ratio);
    d.remedy = "try the recipe that its comments name next; the output is complete and stays";
    missed.push_back(std::move(d));
  }
  e.report.seconds.eval = seconds_since(start);
  return missed;
}

uint64_t file_bytes(const fs::path& directory) {
  uint64_t bytes = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() == ".safetensors") bytes += entry.file_size();
  }
  return bytes;
}

// The records of finished units in the order of the plan.
std::vector<const UnitRecord*> records_of(const Ending& e) {
  std::map<std::string_view, const UnitRecord*> by_unit;
  for (const UnitRecord& record : e.journal.finished())
    by_unit.emplace(record.unit, &record);
  std::vector<const UnitRecord*> records;
  for (const plan::Unit& unit : e.job.plan.units) {
    if (const auto found = by_unit.find(unit.name); found != by_unit.end())
      records.push_back(found->second);
  }
  return records;
}

std::vector<std::string> joined(std::vector<std::string> a, const std::vector<std::string>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// One line for each tensor of the source. An embedding that also became a head of its own is
// listed once, as what the rule made of it, with the outputs of both.
void write_ledger(const Ending& e) {
  std::vector<LedgerEntry> lines;
  std::unordered_map<std::string, size_t> line_of;
  for (const UnitRecord* record : records_of(e)) {
    for (const LedgerEntry& entry : record->ledger) {
      const auto [at, fresh] = line_of.emplace(entry.tensor, lines.size());
      if (fresh) {
        lines.push_back(entry);
        continue;
      }
      LedgerEntry& line = lines[at->second];
      LedgerEntry both = entry.fate == Fate::kCopied ? line : entry;
      both.outputs = joined(line.outputs, entry.outputs);
      both.outputs_xxh128 = joined(line.outputs_xxh128, entry.outputs_xxh128);
      line = std::move(both);
    }
  }
  std::string ledger;
  for (const LedgerEntry& line : lines)
    ledger += to_json_line(line);
  e.output.write("mopt/ledger.jsonl", ledger);
}

void complete_report(const Ending& e) {
  const plan::Plan& plan = e.job.plan;
  for (const UnitRecord* record : records_of(e)) {
    e.report.layers.insert(e.report.layers.end(), record->layers.begin(), record->layers.end());
    e.report.warnings.insert(e.report.warnings.end(), record->warnings.begin(),
                             record->warnings.end());
  }
  for (const plan::Item& item : plan.items) {
    if (item.outcome == plan::Outcome::kCopied) {
      e.report.kept.push_back(
          {item.name, std::string(item.reason.empty() ? "no rule names it" : item.reason)});
    }
  }
  e.report.output.path = e.output.final().string();
  e.report.output.bytes = file_bytes(e.output.partial());
  e.report.output.tensors = plan.outputs().size();
  const auto parameters = static_cast<double>(e.report.model.parameters);
  e.report.output.bits_per_weight =
      parameters > 0 ? 8.0 * static_cast<double>(e.report.output.bytes) / parameters : 0;
}

}  // namespace

std::vector<Diagnostic> finish(const Ending& e, const std::function<void()>& commit_weights) {
  plan::ExportJob job;
  plan::fill_export_job(job, e.job.plan, config_text(*e.job.source));
  std::map<std::string, std::string> written = e.job.exporter->finish(job.abi);
  // The source's own wins over one that was derived.
  if (!e.job.source->container().document("generation_config.json").empty())
    written.erase("generation_config.json");
  commit_weights();
  for (Diagnostic& d : copy_side_files(*e.job.source, e.output, written))
    e.report.warnings.push_back(std::move(d));
  write_ledger(e);  // says what verify may find changed
  verify_output(e, written);
  // From here on an engine could read the directory; only its name is missing.
  for (const auto& [name, text] : written)
    e.output.write(name, text);
  std::vector<Diagnostic> missed = run_evals(e);
  complete_report(e);
  if (e.request.plugin_warnings) {
    for (Diagnostic& d : e.request.plugin_warnings())
      e.report.warnings.push_back(std::move(d));
  }
  e.report.memory.peak_bytes = compute::peak_resident_bytes();
  if (e.request.on_device != nullptr) {
    e.report.memory.device_peak_bytes = static_cast<uint64_t>(e.request.on_device->memory().peak);
  }
  e.output.write("mopt/recipe.toml", print_resolved(e.job.recipe));
  return missed;
}

}  // namespace mopt::pipeline
