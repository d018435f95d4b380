#include "host/pipeline/calibrate.hpp"

#include <array>
#include <chrono>
#include <cstring>

#include "host/compute/absmax/absmax.hpp"
#include "host/compute/range/range.hpp"
#include "host/pipeline/errors_on_device.hpp"
#include "host/pipeline/failure.hpp"
#include "host/plan/cost.hpp"

namespace mopt::pipeline {

using compute::View;
using graph::ValueId;

namespace {

std::vector<int64_t> as_int64(const Container& file, const mopt::StoredTensor& t) {
  std::vector<int64_t> values(static_cast<size_t>(elements(t.shape)));
  const Tensor loaded = file.load(t, t.dtype);
  for (size_t i = 0; i < values.size(); ++i) {
    switch (t.dtype.bits) {
      case 64:
        values[i] = loaded.data<int64_t>()[i];
        break;
      case 32:
        values[i] =
            t.dtype.code == kDLUInt ? loaded.data<uint32_t>()[i] : loaded.data<int32_t>()[i];
        break;
      case 16:
        values[i] =
            t.dtype.code == kDLUInt ? loaded.data<uint16_t>()[i] : loaded.data<int16_t>()[i];
        break;
      default:
        values[i] = t.dtype.code == kDLUInt ? loaded.data<uint8_t>()[i] : loaded.data<int8_t>()[i];
        break;
    }
  }
  return values;
}

enum class Values { kRead, kLeave };

// The two-dimensional integer tensors of a file; with kLeave only their headers are looked at.
std::vector<text::IdMatrix> id_matrices(const Container& file, Values values) {
  std::vector<text::IdMatrix> matrices;
  for (const mopt::StoredTensor& t : file.tensors()) {
    const bool integer = (t.dtype.code == kDLInt || t.dtype.code == kDLUInt) && t.dtype.bits >= 8;
    if (t.shape.size() != 2 || !integer) continue;
    matrices.push_back({std::string(t.name), t.shape[0], t.shape[1], {}});
    if (values == Values::kRead) matrices.back().values = as_int64(file, t);
  }
  return matrices;
}

}  // namespace

int64_t vocabulary_of(const Checkpoint& checkpoint) {
  const graph::Model& model = checkpoint.required_graph();
  for (const graph::Op& op : model.ops) {
    if (op.kind == graph::OpKind::kEmbedding) return model.values[op.in[1]].dims[0];
  }
  throw Error(MOPT_UNSUPPORTED, "the model has no embedding of tokens; expected a language model",
              checkpoint.container().path().string());
}

DLDataType compute_type(const Checkpoint& checkpoint) {
  return same(checkpoint.dtype(), kBf16) ? kBf16 : kF32;
}

text::OpenIds id_opener(const Registry& registry) {
  return [&registry](const std::string& path) {
    return id_matrices(Container::open(registry, path), Values::kRead);
  };
}

std::optional<int64_t> known_rows(const Calibration& calibration, const Registry& registry) {
  int64_t rows = 0;
  for (const PlacedText& data : calibration.data) {
    if (data.value == "self") return std::nullopt;
    const text::SourcePath source = text::split_source(data.value);
    if (!source.file.ends_with(".safetensors")) return std::nullopt;
    const Container file = Container::open(registry, source.file);
    rows += text::count_ids(id_matrices(file, Values::kLeave), source.key, source.file);
  }
  return rows;
}

std::optional<Diagnostic> few_rows(const Calibration& calibration, int64_t rows) {
  if (rows >= calibration.samples.value) return std::nullopt;
  Diagnostic d;
  d.code = "W103";
  d.message = "the data has " + std::to_string(rows) + " rows, the recipe asks for " +
              std::to_string(calibration.samples.value) + "; all are used";
  d.severity = Severity::kWarning;
  return d;
}

text::Rows calibration_rows(const Calibration& calibration, const Checkpoint& source) {
  text::DataRequest request;
  bool needs_tokenizer = false;
  for (const PlacedText& data : calibration.data) {
    request.sources.push_back(data.value);
    const std::string file = text::split_source(data.value).file;
    needs_tokenizer = needs_tokenizer || file.ends_with(".txt") || file.ends_with(".jsonl");
  }
  request.samples = calibration.samples.value;
  request.seq_len = calibration.seq_len.value;
  request.seed = static_cast<uint64_t>(calibration.seed.value);
  request.vocab_size = vocabulary_of(source);
  return text::load_rows(request, needs_tokenizer ? &source.tokenizer() : nullptr,
                         id_opener(source.registry()));
}

CalibrationPass::CalibrationPass(const Prepared& job, TokenRows rows, ForwardOptions options)
    : CalibrationPass(job, std::move(rows), std::move(options), Batches()) {}

CalibrationPass::CalibrationPass(const Prepared& job, TokenRows rows, ForwardOptions options,
                                 Batches batches)
    : job_(job),
      options_(std::move(options)),
      stream_(job.source->required_graph(), std::move(rows),
              {options_.dtype, options_.on_device, batches.tokens, std::move(batches.resting)}) {}

// [any thread, one row at a time]
void CalibrationPass::look(Observed::Seen& seen, const RowBatch& rows, const View& x) {
  if (options_.on_device != nullptr) return look_on_device(seen, rows, x);
  const compute::AbsMax found = compute::absmax(x, options_.kernels);
  seen.absmax[rows.first] = found.first_not_finite >= 0 ? INFINITY : found.value;
  if (rows.first != 0 || seen.sample) return;
  const int64_t tokens = std::min(plan::kSampleTokens, x.rows());
  seen.sample = allocate(x.dtype, {tokens, x.columns()});
  std::memcpy(seen.sample.data<char>(), x.data, mopt::nbytes(*seen.sample));
}

void CalibrationPass::look_on_device(Observed::Seen& seen, const RowBatch& rows, const View& x) {
  compute::Queue& queue = options_.on_device->queue();
  if (!seen.found)
    compute::range({x, reinterpret_cast<uint32_t*>(seen.parts.get())}, options_.kernels);
  if (rows.first != 0 || seen.sample) return;
  const int64_t tokens = std::min(plan::kSampleTokens, x.rows() / static_cast<int64_t>(rows.count));
  const std::array<int64_t, 2> extents{tokens, x.columns()};
  const int64_t bytes = x.bytes() / x.rows() * tokens;
  seen.sample =
      tensor_over(queue.take(bytes), options_.on_device->exec()->device, x.dtype, extents);
  queue.copy(seen.sample.data<char>(), x.data, bytes);
}

void CalibrationPass::begin_looking(Observed& observed, ForwardOptions& options) {
  constexpr auto kBytes = compute::kRangeParts * static_cast<int64_t>(sizeof(uint32_t));
  for (const plan::Site& site : job_.plan.sites) {
    if (site.block != observed.block || observed.seen.contains(site.value)) continue;
    Observed::Seen& seen = observed.seen[site.value];
    seen.reached = stream_.tokens() > 0;
    options.observed.push_back(site.value);
    if (options_.on_device == nullptr) {
      seen.absmax.assign(stream_.rows().size(), 0);
      continue;
    }
    seen.parts = options_.on_device->queue().take(kBytes);
    options_.on_device->queue().zero(seen.parts.get(), kBytes);
    options.ranges[site.value] = reinterpret_cast<uint32_t*>(seen.parts.get());
    seen.copied = options_.on_device->device().take_pinned(kBytes);
  }
}

std::future<void> CalibrationPass::foresee() const {
  const graph::Model& model = job_.source->required_graph();
  size_t next = stream_.next_block();
  const auto attends = [&](const graph::Block& block) {
    return std::any_of(model.ops.begin() + static_cast<int64_t>(block.first_op),
                       model.ops.begin() + static_cast<int64_t>(block.end_op),
                       [](const graph::Op& op) { return op.kind == graph::OpKind::kAttention; });
  };
  while (next < model.blocks.size() && !attends(model.blocks[next]))
    ++next;
  if (next >= model.blocks.size() || stream_.batches().empty()) return {};
  ForwardOptions options = options_;
  options.param = [&](const std::string& name) {
    const auto param = std::find_if(model.params.begin(), model.params.end(),
                                    [&](const graph::Param& p) { return p.name == name; });
    return compute::view_of(compute::aligned_address(), options_.dtype, param->dims);
  };
  const RowBatch rows = stream_.batches().front();
  auto program = std::make_shared<BlockProgram>(*job_.source, next, options);
  return std::async(std::launch::async, [this, next, rows, program] {
    // A queue of this thread's own: it makes the device the thread's.
    const auto queue = options_.on_device->device().make_queue("foresee");
    compute::Options kernels = options_.kernels;
    kernels.queue = queue.get();
    kernels.trace = {};
    program->foresee(kernels, static_cast<int64_t>(rows.count), rows.length);
    foresee_errors(static_cast<int>(next), rows.length, kernels);
  });
}

// What its layers' errors will be measured with.
void CalibrationPass::foresee_errors(int block, int64_t tokens,
                                     const compute::Options& kernels) const {
  const plan::Plan& plan = job_.plan;
  for (const plan::Site& site : plan.sites) {
    const plan::Item& item = plan.items[site.item];
    if (site.block != block || site.operand != MOPT_OPERAND_INPUT) continue;
    if (item.weight == plan::kNoFormat) continue;
    const Quantizer& quantizer = plan.formats[static_cast<size_t>(item.weight)]->quantizer;
    if (!options_.on_device->serves(quantizer)) continue;
    foresee_output_error({plan, item, nullptr, {}}, options_.dtype,
                         std::min(plan::kSampleTokens, tokens), kernels);
  }
}

Observed CalibrationPass::run_block(Observe observe, Param param) {
  const auto start = std::chrono::steady_clock::now();
  Observed observed;
  observed.block = static_cast<int>(stream_.next_block());
  ForwardOptions options = options_;
  options.param = std::move(param);
  if (observe == Observe::kYes) begin_looking(observed, options);
  if (observed.block == job_.plan.last_forward_block) options.wanted.emplace();
  const BlockProgram program(*job_.source, static_cast<size_t>(observed.block), options);
  for (auto& [v, seen] : observed.seen)
    seen.found = program.finds_range(v);
  if (options_.on_device != nullptr) observed.begun = options_.on_device->queue().record();
  stream_.run(program, [&](const RowBatch& rows, ValueId v, const View& x) {
    look(observed.seen.at(v), rows, x);
  });
  if (options_.on_device != nullptr) {
    compute::Queue& queue = options_.on_device->queue();
    for (auto& [v, seen] : observed.seen)
      queue.copy(seen.copied.get(), seen.parts.get(), compute::kRangeParts * sizeof(uint32_t));
    observed.ready = queue.record();
  }
  if (options_.on_device == nullptr)
    seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return observed;
}

// Waits for the device and takes over what it found.
void CalibrationPass::fetch(Observed& observed) {
  if (!observed.ready) return;
  observed.ready->wait();
  seconds_ += observed.ready->seconds_after(*observed.begun);
  for (auto& [v, seen] : observed.seen) {
    const auto* parts = reinterpret_cast<const uint32_t*>(seen.copied.get());
    const compute::RangeFound found =
        compute::range_of({parts, static_cast<size_t>(compute::kRangeParts)});
    seen.absmax.assign(1, std::isfinite(found.absmax) ? found.absmax : INFINITY);
  }
}

Calibrated CalibrationPass::solve(Observed observed, std::vector<Calibrator>& calibrators) {
  fetch(observed);
  Calibrated out;
  const mopt_exec* exec = job_.source->registry().services().cpu();
  for (const plan::Site& site : job_.plan.sites) {
    if (site.block != observed.block) continue;
    const Observed::Seen& seen = observed.seen.at(site.value);
    float absmax = 0;
    for (const float part : seen.absmax)
      absmax = std::max(absmax, part);
    if (!seen.reached)
      fail_at_tensor("M206", site.name, "no calibration token reached it",
                     "use more or other data");
    if (!std::isfinite(absmax)) {
      fail_at_tensor("M205", site.name, "an activation is NaN or infinite on the calibration data",
                     "check the model with `mopt-host eval`");
    }
    TensorRef value(&absmax, kF32, std::initializer_list<int64_t>{});
    const mopt_site abi{sizeof(mopt_site), site.operand, str(site.name),
                        str(site.role),    site.scheme,  site.channels};
    float range = absmax;
    for (size_t c = 0; c < calibrators.size(); ++c) {
      std::vector<mopt_named_tensor> stats;
      for (const std::string& stat : site.stats[c])
        stats.push_back({str(stat), value.get()});
      range = calibrators[c].solve(exec, abi, stats);
    }
    (site.operand == MOPT_OPERAND_KV ? out.kv_range : out.input_range)[site.item] = range;
  }
  for (auto& [v, seen] : observed.seen) {
    if (seen.sample) out.samples[v] = std::move(seen.sample);
  }
  for (const plan::Site& site : job_.plan.sites) {
    if (site.block != observed.block || site.operand != MOPT_OPERAND_INPUT) continue;
    const auto sample = out.samples.find(site.value);
    if (sample != out.samples.end()) out.sample[site.item] = &sample->second;
  }
  return out;
}

}  // namespace mopt::pipeline
