// `mopt-host eval` and `mopt-host logits`.
#include "host/pipeline/evaluate.hpp"

#include "host/cli/arguments.hpp"
#include "host/cli/commands.hpp"
#include "host/cli/layout.hpp"
#include "host/cli/models.hpp"
#include "host/pipeline/calibrate.hpp"
#include "host/pipeline/windows.hpp"
#include "host/report/json.hpp"
#include "host/text/data.hpp"

namespace mopt::cli {
namespace {

using pipeline::Checkpoint;

pipeline::EvalOptions eval_options(App& app, const Checkpoint& checkpoint, Precision precision) {
  pipeline::EvalOptions options;
  options.forward = forward_options(app, checkpoint, precision);
  app.expect_forward();
  options.use(app.device(), app.services());
  options.progress = [&app](size_t block, size_t blocks) {
    ProgressState state;
    state.block = static_cast<int64_t>(block) + 1;
    state.blocks = static_cast<int64_t>(blocks);
    state.role = "forward";
    app.console().progress().block_done(state);
  };
  return options;
}

pipeline::TokenRows id_rows(App& app, const Checkpoint& checkpoint, const std::string& source) {
  return text::load_ids(source, pipeline::id_opener(app.registry()), vocabulary_of(checkpoint));
}

pipeline::TokenRows windows_of(const Checkpoint& checkpoint, const EvalOptions& options) {
  if (options.text && !options.text->ends_with(".txt") && !options.text->ends_with(".jsonl")) {
    usage_error("--text: '" + *options.text + "' is neither .txt nor .jsonl",
                "give a file of ids with --ids");
  }
  return pipeline::eval_windows(
      {options.ids ? *options.ids : *options.text, options.window, options.max_tokens}, checkpoint);
}

std::string document(const pipeline::Scores& s) {
  Json json = {
      {"tokens", s.tokens}, {"nll", json_number(s.nll)}, {"perplexity", json_number(s.perplexity)}};
  if (s.reference) {
    json["reference_perplexity"] = json_number(s.reference->perplexity);
    json["kl_mean"] = json_number(s.reference->kl_mean);
    json["kl_p99"] = json_number(s.reference->kl_p99);
    json["top1_agreement"] = json_number(s.reference->top1_agreement);
  }
  return json_page(json);
}

std::string page(const pipeline::Scores& s, int width) {
  std::vector<Entry> list = {{"tokens", grouped(static_cast<uint64_t>(s.tokens))},
                             {"perplexity", measure_text(s.perplexity)},
                             {"nll", measure_text(s.nll) + " nats per token"}};
  if (s.reference) {
    list.push_back({"reference perplexity", measure_text(s.reference->perplexity)});
    list.push_back({"KL divergence", measure_text(s.reference->kl_mean) + " nats on average, " +
                                         measure_text(s.reference->kl_p99) +
                                         " at the 99th percentile"});
    list.push_back(
        {"same top token", measure_text(100 * s.reference->top1_agreement) + " % of the tokens"});
  }
  return entries(list, width);
}

// Two models that are compared must mean the same tokens by their ids.
void check_vocabularies(const Checkpoint& a, const Checkpoint& b) {
  const int64_t ours = vocabulary_of(a), theirs = vocabulary_of(b);
  if (ours == theirs) return;
  Diagnostic d;
  d.code = "D104";
  d.file = b.container().path().string();
  d.message = "expected a vocabulary of " + std::to_string(ours) + " tokens, found " +
              std::to_string(theirs);
  d.remedy = "a reference needs the same tokenizer";
  throw Failure(std::move(d));
}

}  // namespace

Exit run_eval(App& app, const EvalOptions& options) {
  app.console().note("device " + app.device_text());
  const auto checkpoint = open_model(app, options.path);
  std::unique_ptr<Checkpoint> reference;
  if (options.reference) {
    reference = Checkpoint::open(app.registry(), *options.reference);
    check_vocabularies(*checkpoint, *reference);
  }
  const pipeline::TokenRows windows = windows_of(*checkpoint, options);
  const pipeline::Scores scores = pipeline::evaluate(
      *checkpoint, windows, eval_options(app, *checkpoint, options.precision), reference.get());
  Console& console = app.console();
  console.text(app.json() ? document(scores) : page(scores, console.width()));
  return Exit::kDone;
}

Exit run_logits(App& app, const LogitsOptions& options) {
  app.console().note("device " + app.device_text());
  const auto checkpoint = open_model(app, options.path);
  const pipeline::TokenRows rows = id_rows(app, *checkpoint, options.ids);
  const std::vector<int64_t> shape = pipeline::write_logits(
      *checkpoint, rows, eval_options(app, *checkpoint, options.precision), options.out);
  Console& console = app.console();
  if (app.json()) {
    console.document(json_page({{"file", options.out.string()}, {"shape", shape}}));
  } else {
    console.text(printable(options.out.string()) + ": logits " + shape_text(shape) + "\n");
  }
  return Exit::kDone;
}

}  // namespace mopt::cli
