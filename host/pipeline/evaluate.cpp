#include "host/pipeline/evaluate.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "host/compute/cast/cast.hpp"
#include "host/compute/nll/nll.hpp"
#include "host/compute/parallel.hpp"
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

// Row `index` of a batch of logits [rows, T, V], as [T, V].
View row_of(const View& logits, int64_t index) {
  const int64_t bytes = logits.bytes() / logits.shape[0];
  return compute::view_of(static_cast<const std::byte*>(logits.data) + index * bytes, logits.dtype,
                          {logits.shape[1], logits.columns()});
}

// fn(row, its index in the batch), in parallel.
void each_row(const RowBatch& rows, const std::function<void(size_t, int64_t)>& fn) {
  compute::for_each(static_cast<int64_t>(rows.count), 1, [&](int64_t index, int64_t) {
    fn(rows.first + static_cast<size_t>(index), index);
  });
}

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

// KL(reference || ours) of one token in nats, and whether both favour the same token.
struct Divergence {
  double kl;
  bool same_top;
};

double log_sum_exp(const float* x, int64_t n, float max) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i)
    sum += std::exp(x[i] - max);
  return max + std::log(sum);
}

Divergence diverge(const float* ours, const float* theirs, int64_t n) {
  const float* top_ours = std::max_element(ours, ours + n);
  const float* top_theirs = std::max_element(theirs, theirs + n);
  const double norm_ours = log_sum_exp(ours, n, *top_ours);
  const double norm_theirs = log_sum_exp(theirs, n, *top_theirs);
  double kl = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double log_p = theirs[i] - norm_theirs;
    kl += std::exp(static_cast<float>(log_p)) * (log_p - (ours[i] - norm_ours));
  }
  return {kl, top_ours - ours == top_theirs - theirs};
}

std::vector<int64_t> targets_of(const std::vector<int32_t>& row, int64_t first, int64_t count) {
  std::vector<int64_t> targets;
  const auto last = std::min<int64_t>(first + count, static_cast<int64_t>(row.size()) - 1);
  for (int64_t i = first; i < last; ++i)
    targets.push_back(row[static_cast<size_t>(i + 1)]);
  return targets;
}

// Per row, so that sums do not depend on threads.
struct RowScore {
  double nll = 0, reference_nll = 0, kl = 0;
  int64_t tokens = 0, agreed = 0;
  std::vector<float> kls;
};

View first_rows(const View& logits, size_t count) {
  return compute::view_of(logits.data, logits.dtype,
                          {static_cast<int64_t>(count), logits.columns()});
}

double sum(const std::vector<double>& values) {
  double total = 0;
  for (const double v : values)
    total += v;
  return total;
}

void score_against(RowScore& score, const View& ours, const View& theirs,
                   const std::vector<int64_t>& targets) {
  score.reference_nll += sum(compute::nll(first_rows(theirs, targets.size()), targets));
  const std::vector<float> a = as_float(ours), b = as_float(theirs);
  const int64_t vocabulary = ours.columns();
  for (size_t t = 0; t < targets.size(); ++t) {
    const auto at = static_cast<int64_t>(t) * vocabulary;
    const Divergence d = diverge(a.data() + at, b.data() + at, vocabulary);
    score.kl += d.kl;
    score.agreed += d.same_top;
    score.kls.push_back(static_cast<float>(d.kl));
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
  ours.run_head(head, [&](const RowBatch& rows, int64_t first, const View& logits) {
    const OnCpu mine(on, logits);
    LiveValues piece;  // owns what `other` looks at
    std::optional<OnCpu> other;
    if (theirs) {
      piece = theirs->head_piece(*their_head, rows, first, logits.shape[1]);
      other.emplace(on, piece.begin()->second.view);
    }
    each_row(rows, [&](size_t row, int64_t index) {
      RowScore& score = scores[row];
      const View of_row = row_of(mine.view(), index);
      const std::vector<int64_t> targets = targets_of(windows[row], first, of_row.rows());
      if (targets.empty()) return;
      score.nll += sum(compute::nll(first_rows(of_row, targets.size()), targets));
      score.tokens += static_cast<int64_t>(targets.size());
      if (other) score_against(score, of_row, row_of(other->view(), index), targets);
    });
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
