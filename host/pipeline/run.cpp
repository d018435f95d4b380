#include "host/pipeline/run.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <fstream>
#include <future>
#include <thread>

#include "host/pipeline/activation_budget.hpp"
#include "host/pipeline/calibrate.hpp"
#include "host/pipeline/device_loop.hpp"
#include "host/pipeline/failure.hpp"
#include "host/pipeline/finish.hpp"
#include "host/pipeline/generate.hpp"
#include "host/pipeline/resources.hpp"
#include "host/pipeline/run_faults.hpp"
#include "host/pipeline/run_fingerprint.hpp"
#include "host/pipeline/saved_rows.hpp"
#include "host/plan/cost.hpp"
#include "host/report/hash.hpp"
#include "host/report/html.hpp"

namespace mopt::pipeline {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// A boundary is saved when the time since the last save exceeds this many times what a save costs.
constexpr double kSaveFactor = 30;
// Bytes per second, until one was timed.
constexpr double kSaveRate = 5e8;
// What only an unfinished run has in DIR/mopt. The journal goes first: without it nothing of the
// others is used.
constexpr std::array kUnfinishedFiles{"journal.jsonl", "calibration.ids", "activations",
                                      "activations.new", "activations.rest"};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string cpu_name() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

uint64_t mib(uint64_t bytes) {
  return (bytes + (uint64_t{1} << 20) - 1) >> 20;
}

// What only a run in work needs; the journal goes first, after it the output counts as complete.
void remove_working_files(const OutputDirectory& output) {
  for (const char* name : kUnfinishedFiles)
    fs::remove(output.own() / name);
}

class Run {
 public:
  Run(Prepared& job, const RunRequest& request, OutputDirectory& output)
      : job_(job), request_(request), output_(output) {}

  Report execute();
  std::vector<Diagnostic> missed;

 private:
  bool interrupted() const {
    return request_.interrupts != nullptr && request_.interrupts->load() != 0;
  }
  void say(const std::string& text) const {
    if (request_.say) request_.say(text);
  }
  void check_disk() const;
  void prepare_rows();
  TokenRows own_text();
  void fill_head();
  Fingerprint fingerprint();
  void open_journal();
  void continue_writing(const ContainerWriter::Plan&);
  void loop();
  void loop_on_device();
  void loop_as_it_fits();
  void need_less(const Error& lack);
  Observed forward_to(const plan::Unit&);
  void save_boundary(bool now);
  int first_open_block() const;
  void restore_boundary();
  ForwardOptions forward_options();
  Resting resting() const;
  void new_pass();
  bool save_is_due() const;
  [[noreturn]] void stop();
  void show(const plan::Unit&, size_t done, double seconds);
  void fill_timeline();
  bool all_written() const;

  Prepared& job_;
  const RunRequest& request_;
  OutputDirectory& output_;
  Report report_;
  Timeline timeline_{request_.on_device};
  RunFingerprint fingerprint_{job_, request_.version + " " + request_.commit};
  TokenRows rows_;
  std::optional<Journal> journal_;
  std::optional<ContainerWriter> writer_;
  int64_t batch_tokens_ = request_.batch_tokens;
  bool rest_on_device_ = true;          // activations, as many as the device has room for
  std::optional<DeviceQueues> queues_;  // before what computes on them
  std::optional<CalibrationPass> pass_;
  Clock::time_point last_save_ = Clock::now();
  double save_cost_ = 0;
  int64_t blocks_forwarded_ = 0;
  uint64_t bytes_ = 0, bytes_done_ = 0;  // of the source
};

void Run::check_disk() const {
  const plan::Cost& cost = job_.plan.cost;
  const uint64_t needed = cost.output_bytes + cost.scratch_bytes;
  // What an interrupted run wrote is on the disk already.
  if (request_.unfinished != Unfinished::kResume && output_.space() < needed) {
    fail("R102", output_.final().string(),
         "the run writes " + std::to_string(mib(needed)) + " MiB, the disk has " +
             std::to_string(mib(output_.space())) + " MiB free",
         "make room, or choose another --output");
  }
}

void Run::fill_head() {
  const Checkpoint& source = *job_.source;
  report_.mopt.version = request_.version;
  report_.mopt.commit = request_.commit;
  report_.recipe = job_.recipe.name.value.empty() ? job_.recipe.file : job_.recipe.name.value;
  report_.command = request_.command;
  report_.model.path = source.container().path().string();
  report_.model.adapter = source.graph() == nullptr ? "none" : source.graph()->architecture;
  if (const graph::ModelConfig* config = source.config()) {
    const mopt_value names = config->get("architectures");
    if (names.type == MOPT_LIST && names.count > 0 && names.as.list[0].type == MOPT_STR) {
      report_.model.architecture = view(names.as.list[0].as.s);
    }
  }
  report_.model.parameters = static_cast<uint64_t>(source.parameter_count());
  report_.model.bytes = source.bytes();
  report_.machine.cpu = cpu_name();
  report_.machine.cores = request_.threads;
  report_.machine.device = request_.device;
  if (request_.on_device != nullptr) report_.machine.driver = request_.on_device->info().driver;
  report_.memory.limit_bytes = request_.memory_limit;
  report_.warnings = job_.recipe.warnings;
  report_.warnings.insert(report_.warnings.end(), job_.plan.warnings.begin(),
                          job_.plan.warnings.end());
}

TokenRows Run::own_text() {
  const Calibration& c = *job_.recipe.calibration;
  const auto start = Clock::now();
  const Timeline::Scope scope(&timeline_, Phase::kForward, "calibration text");
  TokenRows rows = write_self_text_on(
      request_.on_device, *job_.source, forward_options(),
      {c.samples.value, c.seq_len.value, static_cast<uint64_t>(c.seed.value)},
      [&](int64_t done, int64_t of) {
        if (request_.progress != nullptr) {
          ProgressState state{
              done, of, "writing calibration text", ProgressState::Unit::kTokens, 0, std::nullopt};
          const double elapsed = seconds_since(start);
          state.rate = static_cast<double>(done) / elapsed;
          state.seconds_left = elapsed / static_cast<double>(done) * static_cast<double>(of - done);
          request_.progress->update(state);
        }
        return !interrupted();
      },
      [&](const std::string& decision) { say(decision); });
  report_.seconds.forward += seconds_since(start);
  if (rows.empty()) stop();
  return rows;
}

void Run::prepare_rows() {
  if (!job_.plan.needs_data()) return;
  const Calibration& c = *job_.recipe.calibration;
  const fs::path saved = output_.own() / "calibration.ids";
  const bool self = plan::writes_own_text(job_.recipe);
  std::string source = "self";
  if (!self) {
    text::Rows rows = calibration_rows(c, *job_.source);
    source = rows.source;
    rows_ = std::move(rows.rows);
  } else if (std::optional<TokenRows> written = saved_text(saved, fingerprint_.text_key())) {
    rows_ = *std::move(written);
  } else {
    say("the model writes " + std::to_string(c.samples.value) + " rows of " +
        std::to_string(c.seq_len.value) + " tokens to be calibrated on (data = \"self\")");
    rows_ = own_text();
    output_.write("mopt/calibration.ids", fingerprint_.text_key() + "\n" + rows_text(rows_));
  }
  report_.calibration.emplace();
  report_.calibration->source = source;
  report_.calibration->rows = static_cast<int64_t>(rows_.size());
  for (const auto& row : rows_)
    report_.calibration->tokens += static_cast<int64_t>(row.size());
  report_.calibration->sha256 = sha256_hex(rows_text(rows_));
  // A file of ids was counted by the plan.
  if (auto few = few_rows(c, report_.calibration->rows);
      few && !known_rows(c, job_.source->registry()))
    report_.warnings.push_back(*std::move(few));
}

Fingerprint Run::fingerprint() {
  return fingerprint_.of(report_.calibration ? report_.calibration->sha256 : "");
}

void Run::open_journal() {
  const fs::path file = output_.own() / "journal.jsonl";
  const bool resuming =
      request_.unfinished == Unfinished::kResume && fs::exists(file) && Journal::usable(file);
  const ContainerWriter::Plan plan{output_.partial(), job_.plan.outputs(),
                                   static_cast<uint64_t>(job_.recipe.output.shard_gb.value * 1e9)};
  const Registry& registry = job_.source->registry();
  if (resuming) {
    journal_ = Journal::resume(file, fingerprint());
    say("resuming: " + std::to_string(journal_->finished().size()) + " of " +
        std::to_string(job_.plan.units.size()) + " blocks are finished");
    continue_writing(plan);
    return;
  }
  // Without a journal nothing vouches for what stands there.
  for (const fs::directory_entry& entry : fs::directory_iterator(output_.partial())) {
    if (entry.path() != output_.own()) fs::remove_all(entry.path());
  }
  fs::remove(output_.own() / "activations");
  // The files exist before the journal promises that they do.
  writer_.emplace(registry, "safetensors", plan, WriteMode::kFresh);
  journal_.emplace(file, std::async(std::launch::async, [this] { return fingerprint(); }));
}

// The files of an interrupted run; the journal is nothing without them.
void Run::continue_writing(const ContainerWriter::Plan& plan) {
  const auto weights = std::count_if(
      fs::directory_iterator(output_.partial()), fs::directory_iterator(),
      [&](const fs::directory_entry& entry) { return entry.path() != output_.own(); });
  if (weights == 0 && !journal_->finished().empty()) {
    fail("J102", output_.partial().string(),
         "the journal names finished blocks, but their files are gone",
         "start again with --restart");
  }
  try {
    writer_.emplace(job_.source->registry(), "safetensors", plan, WriteMode::kResume);
  } catch (const Error& e) {
    if (e.code() != MOPT_FAILED_PRECONDITION) throw;
    fail("J102", e.where(), e.what(), "");
  }
}

bool Run::all_written() const {
  return std::all_of(job_.plan.units.begin(), job_.plan.units.end(),
                     [&](const plan::Unit& u) { return journal_->has(u.name); });
}

// The block of the first unit that is not written and needs a forward.
int Run::first_open_block() const {
  int first = job_.plan.last_forward_block + 1;
  for (const plan::Unit& unit : job_.plan.units) {
    if (unit.block >= 0 && !journal_->has(unit.name)) first = std::min(first, unit.block);
  }
  return first;
}

ForwardOptions Run::forward_options() {
  ForwardOptions options;
  options.dtype = compute_type(*job_.source);
  options.kernels = request_.kernels;
  options.quantize_inputs = false;
  if (queues_) {
    options.on_device = &queues_->compute;
    options.kernels.queue = &queues_->compute.queue();
  }
  return options;
}

// Bytes that the run has yet to write stay free on the disk.
Resting Run::resting() const {
  if (!queues_) return {};
  const DevicePlace place{rules_of(*request_.on_device), request_.opened_bytes, batch_tokens_};
  const auto room = static_cast<uint64_t>(request_.on_device->memory().room);
  const Budget budget = activation_budget(memory_needs(job_, place), room, request_.memory_limit);
  Resting resting{.device = rest_on_device_ ? budget.device : 0,
                  .pinned = budget.pinned,
                  .file = output_.own() / "activations.rest",
                  .in = queues_->activations_in.get(),
                  .out = queues_->activations_out.get()};
  for (const plan::Unit& unit : job_.plan.units) {
    for (const size_t item : unit.items) {
      for (const DeclView out : job_.plan.items[item].outputs)
        resting.keep_free += journal_->has(unit.name) ? 0 : out.bytes();
    }
  }
  return resting;
}

void Run::new_pass() {
  pass_.emplace(job_, rows_, forward_options(), CalibrationPass::Batches{batch_tokens_, resting()});
  if (!queues_) return;
  const Placement& at = pass_->stream().placement();
  report_.memory.activations = {batch_tokens_, at.device.batches, at.pinned.batches,
                                at.disk.batches};
  say("activations: " + text(at));
}

void Run::restore_boundary() {
  if (!job_.plan.needs_data()) return;
  new_pass();
  const fs::path saved = output_.own() / "activations";
  if (journal_->finished().empty() || !fs::exists(saved)) return;
  try {
    pass_->stream().load(saved);
  } catch (const Error&) {  // a save that was cut off: replay from the start
    return;
  }
  if (static_cast<int>(pass_->stream().next_block()) > first_open_block()) new_pass();
}

bool Run::save_is_due() const {
  if (!pass_) return false;
  const double cost =
      save_cost_ > 0 ? save_cost_ : static_cast<double>(pass_->stream().bytes()) / kSaveRate;
  return seconds_since(last_save_) >= kSaveFactor * cost;
}

void Run::save_boundary(bool now) {
  if (!pass_ || static_cast<int>(pass_->stream().next_block()) > job_.plan.last_forward_block)
    return;
  if (!now && !save_is_due()) return;
  const auto start = Clock::now();
  const fs::path file = output_.own() / "activations", scratch = output_.own() / "activations.new";
  pass_->stream().save(scratch);
  fs::rename(scratch, file);
  save_cost_ = std::max(0.001, seconds_since(start));
  last_save_ = Clock::now();
}

void Run::stop() {
  if (journal_) {
    journal_->begin();
    save_boundary(true);
  }
  fail("I101", output_.partial().string(), "interrupted; what is finished is kept",
       "continue with: " + request_.resume_command);
}

// Brings the activations to where the unit's block has been run; its ranges are then known.
Observed Run::forward_to(const plan::Unit& unit) {
  const Timeline::Scope scope(&timeline_, Phase::kForward, unit.name);
  while (static_cast<int>(pass_->stream().next_block()) < unit.block) {
    pass_->run_block(CalibrationPass::Observe::kNo);
  }
  return pass_->run_block(CalibrationPass::Observe::kYes);
}

void Run::show(const plan::Unit& unit, size_t done, double seconds) {
  if (request_.progress == nullptr) return;
  ProgressState state;
  state.block = static_cast<int64_t>(done);
  state.blocks = static_cast<int64_t>(job_.plan.units.size());
  state.role = unit.name;
  if (pass_ && blocks_forwarded_ > 0) {
    // Tokens through the whole model: each has passed the blocks so far.
    state.unit = ProgressState::Unit::kTokens;
    state.rate = static_cast<double>(pass_->stream().tokens()) *
                 static_cast<double>(blocks_forwarded_) /
                 static_cast<double>(job_.plan.last_forward_block + 1) / seconds;
  } else {
    state.rate = static_cast<double>(bytes_done_) / seconds;
  }
  if (bytes_done_ > 0) {
    state.seconds_left = seconds / static_cast<double>(bytes_done_) *
                         static_cast<double>(bytes_ - std::min(bytes_, bytes_done_));
  }
  request_.progress->block_done(state);
}

void Run::loop_on_device() {
  DeviceLoop loop({.job = job_,
                   .queues = *queues_,
                   .writer = *writer_,
                   .journal = *journal_,
                   .pass = pass_ ? &*pass_ : nullptr,
                   .threads = request_.threads,
                   .timeline = timeline_,
                   .done =
                       [&, start = Clock::now(), done = size_t{0}](const plan::Unit& unit) mutable {
                         for (const size_t item : unit.items)
                           bytes_done_ += job_.plan.items[item].bytes();
                         if (pass_ && unit.block >= 0 && unit.block <= job_.plan.last_forward_block)
                           ++blocks_forwarded_;
                         show(unit, ++done, seconds_since(start));
                       },
                   .wants_pause = [&] { return interrupted() || save_is_due(); },
                   .pause =
                       [&] {
                         if (interrupted()) stop();
                         save_boundary(false);
                       }});
  loop.run();
  if (pass_) report_.seconds.forward += pass_->seconds_forward();
  pass_.reset();
}

// After the device had too little memory: without activations between blocks, then with smaller
// batches, as long as there is something to make smaller.
void Run::need_less(const Error& lack) {
  if (rest_on_device_ && !rows_.empty()) {
    rest_on_device_ = false;
    return say("too little device memory: no activations rest there now");
  }
  if (std::none_of(rows_.begin(), rows_.end(), [&](const auto& row) {
        return static_cast<int64_t>(row.size()) < batch_tokens_;
      })) {
    const auto wanted = static_cast<uint64_t>(request_.on_device->memory().wanted);
    throw Error(lack.code(), std::string(lack.what()) + "; it takes at least " +
                                 std::to_string(mib(wanted)) +
                                 " MiB there: end what else runs on it, raise "
                                 "--device-memory-limit, calibrate on shorter "
                                 "rows or with --device cpu, and continue with --resume");
  }
  batch_tokens_ /= 2;
  say("too little device memory: batches have " + std::to_string(batch_tokens_) + " tokens now");
}

void Run::loop_as_it_fits() {
  while (true) {
    try {
      queues_.emplace(*request_.on_device, job_.source->registry().services());
      restore_boundary();
      return loop_on_device();
    } catch (const Error& e) {
      if (e.code() == MOPT_DEVICE)
        throw Error(e.code(), e.what() + where_it_failed(e, job_.plan, *journal_));
      if (e.code() != MOPT_OUT_OF_MEMORY) throw;
      need_less(e);
    }
    pass_.reset();
    queues_.reset();
    request_.on_device->trim();
  }
}

void Run::loop() {
  for (const plan::Item& item : job_.plan.items)
    bytes_ += item.bytes();
  timeline_.begin_loop();
  if (request_.on_device != nullptr) return loop_as_it_fits();
  restore_boundary();
  Encoder encoder(
      {job_.plan, *job_.source, *job_.exporter, job_.pruner.get(), *writer_, &timeline_});
  const auto start = Clock::now();
  const auto& units = job_.plan.units;
  for (size_t i = 0; i < units.size(); ++i) {
    if (journal_->has(units[i].name)) continue;
    if (i + 1 < units.size()) {
      for (const size_t item : units[i + 1].items)
        job_.source->prefetch(job_.plan.items[item].source);
    }
    const Scans scans = encoder.scan(units[i]);
    Calibrated calibrated;
    const bool forward =
        pass_ && units[i].block >= 0 && units[i].block <= job_.plan.last_forward_block;
    if (forward) {
      Observed observed = forward_to(units[i]);
      ++blocks_forwarded_;
      const Timeline::Scope scope(&timeline_, Phase::kSolve, units[i].name);
      calibrated = pass_->solve(std::move(observed), job_.calibrators);
    }
    UnitRecord record = encoder.encode(units[i], scans, calibrated);
    {
      const Timeline::Scope scope(&timeline_, Phase::kSync, units[i].name);
      writer_->sync();
    }
    journal_->append(std::move(record));
    for (const size_t item : units[i].items)
      bytes_done_ += job_.plan.items[item].bytes();
    show(units[i], i + 1, seconds_since(start));
    if (interrupted() && i + 1 < units.size()) stop();
    save_boundary(false);
  }
  if (pass_) report_.seconds.forward += pass_->seconds_forward();
  pass_.reset();
}

// On a device, reading and writing cost what the loop's thread waited for them.
void Run::fill_timeline() {
  report_.timeline = timeline_.report();
  Report::Seconds& s = report_.seconds;
  const bool waits = request_.on_device != nullptr;
  s.read = timeline_.busy(waits ? Phase::kWaitRead : Phase::kRead);
  s.solve = timeline_.busy(Phase::kSolve);
  s.encode = timeline_.busy(Phase::kEncode);
  s.write += timeline_.busy(waits ? Phase::kWaitWrite : Phase::kWrite);
}

Report Run::execute() {
  check_disk();
  fill_head();
  prepare_rows();
  open_journal();
  if (!all_written()) {
    loop();
    timeline_.end_loop();
  }
  missed = finish({job_, request_, output_, *journal_, report_, timeline_}, [&] {
    const auto start = Clock::now();
    const Timeline::Scope scope(&timeline_, Phase::kSync);
    writer_->commit();
    writer_.reset();
    report_.seconds.write += seconds_since(start);
  });
  fill_timeline();
  if (!report_.timeline.text.empty()) say(report_.timeline.text);
  report_.seconds.total = timeline_.now();
  output_.write("mopt/report.html", to_html(report_));
  output_.write("mopt/report.json", to_json(report_));
  remove_working_files(output_);
  output_.publish();
  return std::move(report_);
}

}  // namespace

RunResult run(Prepared& job, const RunRequest& request) {
  if (!job.recipe.output.path) {
    fail("E106", job.recipe.file, "no output is named",
         "give --output DIR, or [export] path in the recipe");
  }
  std::optional<DevicePlace> place;
  if (request.on_device != nullptr) place = {rules_of(*request.on_device), request.opened_bytes};
  check_memory(job, memory_needs(job, place), limits_of(request.memory_limit, request.on_device));
  const fs::path dir = output_place(job.recipe.output.path->value);
  fs::path partial = dir;
  partial += ".partial";
  const bool replaced = OutputDirectory::end_replacement(dir);
  if (request.unfinished == Unfinished::kResume && fs::exists(dir) && !fs::exists(partial) &&
      (replaced || request.existing == Existing::kRefuse)) {
    return {{}, true};
  }
  OutputDirectory output(dir, job.source->container().path(), request.unfinished, request.existing);
  // Killed between the end of its work and the rename: only the rename is missing.
  if (request.unfinished == Unfinished::kResume && fs::exists(output.own() / "report.json") &&
      !fs::exists(output.own() / "journal.jsonl")) {
    remove_working_files(output);
    output.publish();
    return {{}, true};
  }
  Run run(job, request, output);
  RunResult result{with_named_faults(request, output, [&] { return run.execute(); }), false};
  if (!run.missed.empty()) throw Failure(run.missed);
  return result;
}

}  // namespace mopt::pipeline
