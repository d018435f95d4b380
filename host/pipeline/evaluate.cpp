#include "host/pipeline/evaluate.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "host/compute/cast/cast.hpp"
#include "host/compute/divergence/divergence.hpp"
#include "host/compute/nll/nll.hpp"
#include "host/pipeline/block_params.hpp"
#include "host/recipe/diagnostic.hpp"

namespace mopt::pipeline {

using compute::View;

namespace {

// All rows through all blocks but the last.
RowStream run_body(const Checkpoint& checkpoint, const TokenRows& rows,
                   const EvalOptions& options) {
  const graph::Model& graph = checkpoint.required_graph();
  RowStream stream(graph, rows, {options.forward.dtype, options.forward.on_device, kBatchTokens});
  const size_t blocks = graph.blocks.size();
  for (size_t b = 0; b + 1 < blocks; ++b) {
    if (options.progress) options.progress(b, blocks);
    for (const int p : graph.blocks[b + 1].params) {
      checkpoint.prefetch(graph.params[static_cast<size_t>(p)].name);
    }
    BlockParams params(checkpoint, options.forward);
    stream.run(BlockProgram(checkpoint, b, params.options()), {});
    for (const int p : graph.blocks[b].params) {
      checkpoint.release(graph.params[static_cast<size_t>(p)].name);
    }
  }
  if (options.progress) options.progress(blocks - 1, blocks);
  return stream;
}

// A view on the CPU of a value that may be a device's.
class OnCpu {
 public:
  OnCpu(OnDevice* on, const View& value) : view_(value) {
    if (on == nullptr) return;
    pinned_ = on->device().take_pinned(value.bytes());
    on->queue().copy(pinned_.get(), value.data, value.bytes());
    on->queue().finish();
    view_.data = pinned_.get();
  }
  const View& view() const { return view_; }

 private:
  compute::Buffer pinned_;
  View view_;
};

std::vector<float> as_float(const View& logits) {
  std::vector<float> out(static_cast<size_t>(logits.elements()));
  const View to = compute::view_of(out.data(), kF32, {logits.rows(), logits.columns()});
  if (compute::is_f32(logits)) {
    std::memcpy(out.data(), logits.data, out.size() * sizeof(float));
  } else {
    compute::cast(logits, to);
  }
  return out;
}

// What follows each token of a piece [rows, n], the first one being number `first` of its row; 0
// where the row ends.
std::vector<int64_t> targets_of(const TokenRows& windows, const RowBatch& rows, int64_t first,
                                int64_t n) {
  std::vector<int64_t> targets;
  for (size_t row = rows.first; row < rows.first + rows.count; ++row) {
    const std::vector<int32_t>& ids = windows[row];
    for (auto at = static_cast<size_t>(first + 1); at <= static_cast<size_t>(first + n); ++at)
      targets.push_back(at < ids.size() ? ids[at] : 0);
  }
  return targets;
}

// Per row, so that sums do not depend on threads.
struct RowScore {
  double nll = 0, reference_nll = 0, kl = 0;
  int64_t tokens = 0, agreed = 0;
  std::vector<float> kls;
};

// Of each token of a piece.
struct PieceScores {
  std::vector<double> nll, reference_nll, divergence;  // the last: pairs, as its op gives them
};

View as_rows(const View& logits) {
  return compute::view_of(logits.data, logits.dtype, {logits.rows(), logits.columns()});
}

PieceScores score_on_cpu(const View& ours, const View* theirs, const std::vector<int64_t>& targets,
                         const compute::Options& options) {
  PieceScores scores;
  scores.nll = compute::nll(as_rows(ours), targets, options);
  if (theirs == nullptr) return scores;
  scores.reference_nll = compute::nll(as_rows(*theirs), targets, options);
  scores.divergence.resize(2 * targets.size());
  const View result =
      compute::view_of(scores.divergence.data(), kF64, {static_cast<int64_t>(targets.size()), 2});
  compute::divergence({as_rows(ours), as_rows(*theirs), result}, options);
  return scores;
}

// Only targets go there, and only scores come back.
PieceScores score_on_device(OnDevice& on, const View& ours, const View* theirs,
                            const std::vector<int64_t>& targets, const compute::Options& options) {
  const auto n = static_cast<int64_t>(targets.size());
  const int64_t values = theirs == nullptr ? n : 4 * n;
  const int64_t bytes = (n + values) * static_cast<int64_t>(sizeof(double));
  const compute::Buffer memory = on.queue().take(bytes);
  const compute::Buffer pinned = on.device().take_pinned(bytes);
  std::memcpy(pinned.get(), targets.data(), targets.size() * sizeof(int64_t));
  on.queue().copy(memory.get(), pinned.get(), n * static_cast<int64_t>(sizeof(int64_t)));
  const View to = compute::view_of(memory.get(), kI64, {n});
  auto* at = reinterpret_cast<double*>(memory.get()) + n;
  compute::nll({as_rows(ours), to, compute::view_of(at, kF64, {n})}, options);
  if (theirs != nullptr) {
    compute::nll({as_rows(*theirs), to, compute::view_of(at + n, kF64, {n})}, options);
    compute::divergence(
        {as_rows(ours), as_rows(*theirs), compute::view_of(at + 2 * n, kF64, {n, 2})}, options);
  }
  auto* found = reinterpret_cast<double*>(pinned.get()) + n;
  on.queue().copy(found, at, values * static_cast<int64_t>(sizeof(double)));
  on.queue().finish();
  if (theirs == nullptr) return {{found, found + n}, {}, {}};
  return {{found, found + n}, {found + n, found + 2 * n}, {found + 2 * n, found + 4 * n}};
}

// Tokens [begin, end) of a piece, which are of one row.
void add(RowScore& score, const PieceScores& piece, size_t begin, size_t end) {
  for (size_t i = begin; i < end; ++i) {
    score.nll += piece.nll[i];
    ++score.tokens;
    if (piece.divergence.empty()) continue;
    score.reference_nll += piece.reference_nll[i];
    score.kl += piece.divergence[2 * i];
    score.agreed += piece.divergence[2 * i + 1] != 0;
    score.kls.push_back(static_cast<float>(piece.divergence[2 * i]));
  }
}

Scores total(const std::vector<RowScore>& rows, bool with_reference) {
  Scores scores;
  double nll = 0, reference_nll = 0, kl = 0;
  int64_t agreed = 0;
  std::vector<float> kls;
  for (const RowScore& row : rows) {
    scores.tokens += row.tokens;
    nll += row.nll;
    reference_nll += row.reference_nll;
    kl += row.kl;
    agreed += row.agreed;
    kls.insert(kls.end(), row.kls.begin(), row.kls.end());
  }
  const auto n = static_cast<double>(std::max<int64_t>(1, scores.tokens));
  scores.nll = nll / n;
  scores.perplexity = std::exp(scores.nll);
  if (with_reference && !kls.empty()) {
    const size_t at =
        std::min(kls.size() - 1, static_cast<size_t>(0.99 * static_cast<double>(kls.size())));
    std::nth_element(kls.begin(), kls.begin() + static_cast<std::ptrdiff_t>(at), kls.end());
    scores.reference = {std::exp(reference_nll / n), kl / n, kls[at],
                        static_cast<double>(agreed) / n};
  }
  return scores;
}

}  // namespace

void EvalOptions::use(compute::Device* device, Services& services) {
  if (device == nullptr) return;
  on_device_ = std::make_shared<OnDevice>(device->make_queue("evaluate"), services);
  forward.on_device = on_device_.get();
  forward.kernels.queue = &on_device_->queue();
}

Scores evaluate(const Checkpoint& checkpoint, const TokenRows& windows, const EvalOptions& options,
                const Checkpoint* reference) {
  OnDevice* on = options.forward.on_device;
  const compute::Range range(on == nullptr ? nullptr : &on->device(), "eval");
  const RowStream ours = run_body(checkpoint, windows, options);
  BlockParams params(checkpoint, options.forward);
  const BlockProgram head(checkpoint, checkpoint.required_graph().blocks.size() - 1,
                          params.options());
  std::optional<RowStream> theirs;
  std::optional<BlockParams> their_params;
  std::optional<BlockProgram> their_head;
  if (reference != nullptr) {
    theirs.emplace(run_body(*reference, windows, options));
    their_params.emplace(*reference, options.forward);
    their_head.emplace(*reference, reference->required_graph().blocks.size() - 1,
                       their_params->options());
  }
  std::vector<RowScore> scores(windows.size());
  const compute::Options& kernels = options.forward.kernels;
  ours.run_head(head, [&](const RowBatch& rows, int64_t first, const View& logits) {
    LiveValues other;
    const View* reference_logits = nullptr;
    const int64_t n = logits.shape[1];
    if (theirs) {
      other = theirs->head_piece(*their_head, rows, first, n);
      reference_logits = &other.begin()->second.view;
    }
    const std::vector<int64_t> targets = targets_of(windows, rows, first, n);
    const PieceScores piece =
        on == nullptr ? score_on_cpu(logits, reference_logits, targets, kernels)
                      : score_on_device(*on, logits, reference_logits, targets, kernels);
    for (size_t i = 0; i < rows.count; ++i) {
      const auto predicted = static_cast<int64_t>(windows[rows.first + i].size()) - 1 - first;
      const auto begin = i * static_cast<size_t>(n);
      const auto count = static_cast<size_t>(std::clamp<int64_t>(predicted, 0, n));
      add(scores[rows.first + i], piece, begin, begin + count);
    }
  });
  return total(scores, reference != nullptr);
}

std::vector<int64_t> write_logits(const Checkpoint& checkpoint, const TokenRows& rows,
                                  const EvalOptions& options, const std::filesystem::path& out) {
  for (const auto& row : rows) {
    if (row.size() == rows.front().size()) continue;
    throw Failure(Diagnostic{.code = "D103",
                             .message = "expected rows of one length, found " +
                                        std::to_string(rows.front().size()) + " and " +
                                        std::to_string(row.size()) + " tokens"});
  }
  const graph::Model& graph = checkpoint.required_graph();
  const RowStream stream = run_body(checkpoint, rows, options);
  BlockParams params(checkpoint, options.forward);
  const BlockProgram head(checkpoint, graph.blocks.size() - 1, params.options());
  const auto batch = static_cast<int64_t>(rows.size());
  const auto time = static_cast<int64_t>(rows.front().size());
  const int64_t vocabulary = graph.values[graph.outputs.find("logits")->second].dims.back();
  const std::vector<int64_t> shape{batch, time, vocabulary};
  // The writer makes a directory's files; the one file that comes out is then moved to its place.
  std::filesystem::path folder = out;
  folder += ".partial";
  std::filesystem::create_directories(folder);
  ContainerWriter writer(checkpoint.registry(), "safetensors",
                         {folder, {{"logits", kF32, shape}}, 0}, WriteMode::kFresh);
  stream.run_head(head, [&](const RowBatch& of, int64_t first, const View& logits) {
    const OnCpu mine(options.forward.on_device, logits);
    const std::vector<float> values = as_float(mine.view());
    const auto row = static_cast<int64_t>(of.first);
    const auto at = static_cast<uint64_t>((row * time + first) * vocabulary);
    writer.write("logits", at * sizeof(float), std::as_bytes(std::span(values)));
  });
  writer.commit();
  std::filesystem::rename(folder / "model.safetensors", out);
  std::filesystem::remove_all(folder);
  return shape;
}

}  // namespace mopt::pipeline
