#include "host/pipeline/forward.hpp"

#include <algorithm>
#include <cstring>

#include "host/compute/activation/activation.hpp"
#include "host/compute/elementwise/elementwise.hpp"
#include "host/compute/embedding/embedding.hpp"
#include "host/compute/gate/gate.hpp"
#include "host/compute/kv_append/kv_append.hpp"
#include "host/compute/parallel.hpp"
#include "host/compute/rms_norm/rms_norm.hpp"
#include "host/graph/opset.hpp"
#include "host/pipeline/quantized_inputs.hpp"
#include "host/plan/cost.hpp"

namespace mopt::pipeline {

using compute::View;
using graph::Op;
using graph::OpKind;
using graph::ValueId;

namespace {

constexpr int64_t kTokensOfTable = 2;  // read from a mapped table before its pages go back
constexpr auto kAlignment = static_cast<size_t>(plan::kBufferAlignment);
constexpr auto kTableBytes = static_cast<int64_t>(plan::kTableBytes);

bool contains(const std::vector<ValueId>& values, ValueId v) {
  return std::find(values.begin(), values.end(), v) != values.end();
}

compute::RopeAttrs rope_attributes(const Op& op, int64_t head_size) {
  compute::RopeAttrs a;
  a.theta = op.number("theta");
  a.rotary_dim = op.integer("rotary_dim") > 0 ? op.integer("rotary_dim") : head_size;
  a.scaling = compute::rope_scaling(op.text("scaling"));
  a.factor = op.number("factor");
  a.low_freq_factor = op.number("low_freq_factor");
  a.high_freq_factor = op.number("high_freq_factor");
  a.original_max_position = static_cast<double>(op.integer("original_max_position"));
  a.beta_fast = op.number("beta_fast");
  a.beta_slow = op.number("beta_slow");
  if (op.number("attention_factor") > 0) a.attention_factor = op.number("attention_factor");
  a.max_position = static_cast<double>(op.integer("max_position"));
  return a;
}

void copy_param(ParamData& param) {
  const View& from = param.view;
  param.owned = allocate(from.dtype, from.extents());
  std::memcpy(param.owned.data<char>(), from.data, static_cast<size_t>(from.bytes()));
  param.view.data = param.owned.data<char>();
}

}  // namespace

BufferPool::Buffer BufferPool::take(size_t bytes) {
  const size_t rounded = (std::max<size_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
  std::byte* block = nullptr;
  {
    const std::lock_guard lock(mutex_);
    const auto found = free_.find(rounded);
    if (found != free_.end()) {
      block = found->second.release();
      free_.erase(found);
    }
  }
  if (block == nullptr) block = static_cast<std::byte*>(std::aligned_alloc(kAlignment, rounded));
  if (block == nullptr) throw std::bad_alloc();
  return Buffer(block, [pool = weak_from_this(), rounded](std::byte* p) {
    if (const auto alive = pool.lock()) {
      alive->give_back(rounded, p);
    } else {
      std::free(p);
    }
  });
}

void BufferPool::give_back(size_t bytes, std::byte* block) {
  const std::lock_guard lock(mutex_);
  free_.emplace(bytes, Block(block));
}

// What one call holds.
struct BlockProgram::State {
  const Call& call;
  int64_t batch, time;
  LiveValues values;
  std::vector<std::optional<compute::RopeAngles>> angles;
  QuantizedInputs inputs;
};

BlockProgram::BlockProgram(const Checkpoint& checkpoint, size_t block, ForwardOptions options)
    : checkpoint_(checkpoint),
      graph_(checkpoint.required_graph()),
      exec_(checkpoint.registry().services().cpu()),
      block_(block),
      options_(std::move(options)) {
  wanted_ = options_.wanted.value_or(graph_.blocks[block].live_out);
  select_ops();
  for (Step& step : steps_)
    options_.on_device == nullptr ? prepare(checkpoint, step) : prepare_on_device(checkpoint, step);
  find_last_uses();
}

// Only the ops that a wanted or observed value depends on.
void BlockProgram::select_ops() {
  const graph::Block& b = block();
  std::vector<bool> needed(graph_.values.size(), false);
  for (const ValueId v : wanted_)
    needed[v] = true;
  for (const ValueId v : options_.observed)
    needed[v] = true;
  for (size_t i = b.end_op; i-- > b.first_op;) {
    const Op& op = graph_.ops[i];
    if (!needed[op.out]) continue;
    for (const ValueId v : op.in)
      needed[v] = true;
    Step step;
    step.op = &op;
    step.in = op.in;
    steps_.push_back(std::move(step));
  }
  std::reverse(steps_.begin(), steps_.end());
  if (joins_gates()) join_gates();
}

// Whoever asks for a kernel of one half gets it.
bool BlockProgram::joins_gates() const {
  bool halves = false;
  for (const std::string& name : options_.kernels.forced) {
    if (name.starts_with("gate.")) return true;
    halves = halves || name.starts_with("activation.") || name.starts_with("elementwise.");
  }
  return !halves;
}

// The step of an activation whose value is needed once, as a factor; or null.
BlockProgram::Step* BlockProgram::maker_of_factor(ValueId v) {
  if (contains(wanted_, v) || contains(options_.observed, v)) return nullptr;
  int64_t uses = 0;
  for (const Step& step : steps_)
    uses += std::count(step.in.begin(), step.in.end(), v);
  const auto maker = std::find_if(steps_.begin(), steps_.end(), [&](const Step& step) {
    return step.op->out == v && step.op->kind == OpKind::kActivation;
  });
  return uses == 1 && maker != steps_.end() ? &*maker : nullptr;
}

void BlockProgram::join_gates() {
  std::vector<const Op*> joined;
  for (Step& step : steps_) {
    if (step.op->kind != OpKind::kMul) continue;
    for (const size_t side : {0, 1}) {
      const Step* maker = maker_of_factor(step.in[side]);
      if (maker == nullptr) continue;
      joined.push_back(step.activation = maker->op);
      step.in = {maker->in[0], step.in[1 - side]};
      break;
    }
  }
  std::erase_if(steps_, [&](const Step& step) {
    return std::find(joined.begin(), joined.end(), step.op) != joined.end();
  });
}

void BlockProgram::prepare(const Checkpoint& checkpoint, Step& step) {
  const Op& op = *step.op;
  step.formats.resize(op.in.size());
  const PreScale pre_scale = options_.quantize_inputs ? PreScale::kApart : PreScale::kFolded;
  const auto load = [&](ValueId v) {
    const std::string& name = graph_.param_of(v)->name;
    ParamData data = checkpoint.load(name, options_.dtype, pre_scale);
    if (!data.owned && data.view.bytes() < kTableBytes) copy_param(data);
    if (data.owned) checkpoint.release(name);
    return std::pair(name, std::move(data));
  };
  if (op.kind == OpKind::kLinear) {
    auto [name, weight] = load(op.in[1]);
    std::optional<ParamData> bias;
    if (op.in.size() == 3) bias = load(op.in[2]).second;
    step.linear =
        compute::PreparedLinear::make(weight.view, bias ? &bias->view : nullptr, options_.kernels);
    weight_bytes_ += step.linear->prepared_bytes();
    if (options_.quantize_inputs) step.formats[0] = checkpoint.input_format(name);
    checkpoint.release(name);
    return;
  }
  for (const ValueId v : step.in) {
    if (graph_.values[v].param < 0 || params_.contains(v)) continue;
    auto [name, param] = load(v);
    if (param.owned) {
      weight_bytes_ += param.view.bytes();
    } else if (param.view.bytes() >= kTableBytes) {
      tables_.push_back(name);
    }
    params_[v] = std::move(param);
  }
  if (op.kind == OpKind::kRope) prepare_rope(step);
  if (op.kind == OpKind::kAttention) prepare_attention(checkpoint, step);
}

void BlockProgram::prepare_on_device(const Checkpoint& checkpoint, Step& step) {
  const Op& op = *step.op;
  step.formats.resize(op.in.size());
  if (op.kind == OpKind::kLinear && options_.quantize_inputs) prepare_product(checkpoint, step);
  for (const ValueId v : step.in) {
    if (graph_.values[v].param < 0 || params_.contains(v)) continue;
    if (step.codes && v == op.in[1]) continue;
    const View view = options_.param(graph_.param_of(v)->name);
    weight_bytes_ += view.bytes();
    params_[v].view = view;
  }
  if (op.kind == OpKind::kRope) prepare_rope(step);
  if (op.kind == OpKind::kAttention) prepare_attention(checkpoint, step);
}

// Where a checkpoint stores input and weight as codes and the device multiplies such, it does, as
// an engine would: no value is rounded before the sum is.
void BlockProgram::prepare_product(const Checkpoint& checkpoint, Step& step) {
  const std::string& weight = graph_.param_of(step.op->in[1])->name;
  step.formats[0] = checkpoint.input_format(weight);
  if (!multiplies_codes(checkpoint, step, weight)) return;
  step.codes = options_.codes(weight);
  weight_bytes_ += step.codes->codes.bytes() + step.codes->scales.bytes();
}

bool BlockProgram::multiplies_codes(const Checkpoint& checkpoint, const Step& step,
                                    const std::string& weight) const {
  const auto& input = step.formats[0];
  if (!options_.codes || !input || !input->codes || !input->pre_scale.empty()) return false;
  const std::optional<CodeScales> scales = checkpoint.code_scales(weight);
  if (!scales) return false;
  const StoredParam& stored = *checkpoint.stored(weight);
  compute::CodesProblem problem;
  problem.n = stored.rows;
  problem.k = stored.cols;
  problem.x_scales = *input->codes;
  problem.weight_scales = *scales;
  problem.bias = step.op->in.size() == 3;
  problem.y = options_.dtype;
  const std::string_view reason = compute::linear_codes_refused(problem, options_.kernels);
  if (!reason.empty() && options_.kernels.trace) options_.kernels.trace("linear of codes", reason);
  return reason.empty();
}

void BlockProgram::prepare_rope(Step& step) {
  const auto attrs = rope_attributes(*step.op, graph_.values[step.op->in[0]].dims.back());
  const auto known = std::find_if(rope_tables_.begin(), rope_tables_.end(),
                                  [&](const auto& t) { return t.attrs == attrs; });
  step.rope_table = static_cast<size_t>(known - rope_tables_.begin());
  if (known != rope_tables_.end()) return;
  rope_tables_.push_back(compute::make_rope_table(attrs));
  rope_tables_.back().attrs = attrs;
}

void BlockProgram::prepare_attention(const Checkpoint& checkpoint, Step& step) {
  step.attention = attention_ops_++;
  if (!options_.quantize_inputs) return;
  for (const int p : block().params) {
    const graph::Param& param = graph_.params[static_cast<size_t>(p)];
    if (param.role == "attn.k") step.formats[1] = checkpoint.kv_format(param.name);
    if (param.role == "attn.v") step.formats[2] = checkpoint.kv_format(param.name);
  }
}

void BlockProgram::find_last_uses() {
  std::vector<bool> kept(graph_.values.size(), false);
  for (const ValueId v : wanted_)
    kept[v] = true;
  for (size_t i = steps_.size(); i-- > 0;) {
    for (const ValueId v : steps_[i].in) {
      if (kept[v] || graph_.values[v].param >= 0) continue;
      kept[v] = true;
      steps_[i].last_used.push_back(v);
    }
  }
}

void BlockProgram::foresee(const compute::Options& options, int64_t rows, int64_t tokens) const {
  compute::Options choosing = options;
  choosing.work = compute::Work::kChoose;
  const auto view = [&](ValueId v) {
    View view = shape_of(v, rows, tokens);
    view.data = compute::aligned_address();
    return view;
  };
  for (const Step& step : steps_) {
    const Op& op = *step.op;
    if (op.kind == OpKind::kLinear && !step.codes) {
      const View* bias = op.in.size() == 3 ? &param(op.in[2]) : nullptr;
      compute::linear(view(op.in[0]), param(op.in[1]), bias, view(op.out), choosing);
    } else if (op.kind == OpKind::kAttention) {
      compute::attention(
          {view(op.in[0]), view(op.in[1]), view(op.in[2]), static_cast<float>(op.number("scale")),
           op.integer("window"), view(op.out)},
          choosing);
    }
  }
}

bool BlockProgram::token_wise() const {
  return std::none_of(steps_.begin(), steps_.end(), [](const Step& s) {
    return s.op->kind == OpKind::kAttention || s.op->kind == OpKind::kRope;
  });
}

bool BlockProgram::repeatable() const {
  const OnDevice* on = options_.on_device;
  if (on == nullptr) return false;
  for (const compute::RopeTable& table : rope_tables_) {
    if (table.attrs.scaling == compute::RopeScaling::kDynamic) return false;
  }
  for (const Step& step : steps_) {
    for (const auto& format : step.formats) {
      if (format && !QuantizedInputs::made_there(*on, *format)) return false;
    }
  }
  return true;
}

bool BlockProgram::finds_range(ValueId v) const {
  return std::any_of(steps_.begin(), steps_.end(), [&](const Step& step) {
    const bool raises = step.op->kind == OpKind::kRmsNorm || step.activation != nullptr;
    return raises && step.op->out == v && options_.ranges.contains(v);
  });
}

uint32_t* BlockProgram::parts_of(const Step& step) const {
  const auto found = options_.ranges.find(step.op->out);
  return found == options_.ranges.end() ? nullptr : found->second;
}

const View& BlockProgram::param(ValueId v) const {
  return params_.find(v)->second.view;
}

// The view of an op's result, without memory.
View BlockProgram::shape_of(ValueId v, int64_t rows, int64_t tokens) const {
  std::vector<int64_t> extents;
  for (const int64_t d : graph_.values[v].dims) {
    extents.push_back(d == MOPT_DIM_BATCH ? rows : d == MOPT_DIM_TIME ? tokens : d);
  }
  return compute::view_of(nullptr, options_.dtype, extents);
}

std::shared_ptr<std::byte> BlockProgram::take(State& s, int64_t bytes) const {
  if (options_.on_device != nullptr) return options_.on_device->queue().take(bytes);
  return s.call.pool->take(static_cast<size_t>(bytes));
}

// Of an operand that nobody needs afterwards, where the op may write over it; null: of none. Only
// on a device, where memory is scarce and operands of a whole batch are large.
std::shared_ptr<std::byte> BlockProgram::reusable(const State& s, const Step& step,
                                                  int64_t bytes) const {
  if (options_.on_device == nullptr || !graph::may_write_over(step.op->kind)) return nullptr;
  for (const ValueId v : step.in) {
    const auto value = s.values.find(v);
    if (value == s.values.end() || !contains(step.last_used, v)) continue;
    const LiveValue& live = value->second;
    if (live.buffer.use_count() == 1 && live.view.bytes() == bytes &&
        live.view.data == live.buffer.get())
      return live.buffer;
  }
  return nullptr;
}

View BlockProgram::make(State& s, const Step& step) const {
  LiveValue value{nullptr, shape_of(step.op->out, s.batch, s.time)};
  value.buffer = reusable(s, step, value.view.bytes());
  if (value.buffer == nullptr) value.buffer = take(s, value.view.bytes());
  value.view.data = value.buffer.get();
  return (s.values[step.op->out] = std::move(value)).view;
}

void BlockProgram::publish(State& s, ValueId v) const {
  if (s.call.observe && contains(options_.observed, v)) s.call.observe(v, s.values.at(v).view);
}

View BlockProgram::operand(State& s, const Step& step, size_t index) const {
  const ValueId v = step.in[index];
  if (graph_.values[v].param >= 0) return param(v);
  if (v == graph_.inputs.find("ids")->second) return s.call.ids;
  if (v == graph_.inputs.find("positions")->second) return s.call.positions;
  const View view = s.values.at(v).view;
  const auto& format = step.formats[index];
  return format ? s.inputs.values(v, view, *format) : view;
}

void BlockProgram::run_rope(State& s, const Step& step, const View& y) const {
  if (options_.on_device != nullptr) {
    const AnglesOnDevice& table =
        options_.on_device->angles(rope_tables_[step.rope_table], s.call.length, options_.dtype);
    return compute::rope(
        compute::RopeLookup{operand(s, step, 0), table.cos, table.sin, s.call.positions, y},
        options_.kernels);
  }
  auto& angles = s.angles[step.rope_table];
  if (!angles) {
    angles = compute::rope_angles(rope_tables_[step.rope_table], s.call.positions, options_.dtype);
  }
  compute::rope(compute::RopeProblem{operand(s, step, 0), &*angles, y}, options_.kernels);
}

void BlockProgram::run_attention(State& s, const Step& step, const View& y) const {
  const View q = operand(s, step, 0), k = operand(s, step, 1), v = operand(s, step, 2);
  const auto scale = static_cast<float>(step.op->number("scale"));
  const int64_t window = step.op->integer("window");
  if (s.call.caches_on_device != nullptr)
    return attend_cached(s, step, {q, k, v, scale, window, y});
  if (s.call.caches == nullptr) {
    compute::attention({q, k, v, scale, window, y}, options_.kernels);
    return;
  }
  auto& rows = (*s.call.caches)[step.attention];
  const auto part = [](const View& all, int64_t b) {
    View one = all;
    one.shape[0] = 1;
    one.data = static_cast<std::byte*>(all.data) + b * (all.bytes() / all.shape[0]);
    return one;
  };
  compute::for_each(s.batch, 1, [&](int64_t b, int64_t) {
    KvCache& cache = rows[static_cast<size_t>(b)];
    const View new_k = part(k, b), new_v = part(v, b);
    const auto position = static_cast<size_t>(new_k.bytes() / s.time);
    const auto bytes = static_cast<size_t>(new_k.bytes());
    const size_t end = static_cast<size_t>(cache.length) * position + bytes;
    if (cache.k.size() < end) {
      const size_t room = std::max(end, static_cast<size_t>(cache.capacity) * position);
      cache.k.resize(room);
      cache.v.resize(room);
    }
    std::memcpy(cache.k.data() + end - bytes, new_k.data, bytes);
    std::memcpy(cache.v.data() + end - bytes, new_v.data, bytes);
    cache.length += s.time;
    View all_k = new_k, all_v = new_v;
    all_k.shape[1] = all_v.shape[1] = cache.length;
    all_k.data = cache.k.data();
    all_v.data = cache.v.data();
    compute::attention({part(q, b), all_k, all_v, scale, window, part(y, b)}, options_.kernels);
  });
}

// Of one token the positions come from the device's memory, so that the work is the same at any.
void BlockProgram::attend_cached(State& s, const Step& step, compute::AttentionProblem p) const {
  CachesOnDevice& caches = *s.call.caches_on_device;
  CacheOnDevice& cache = caches.ops[step.attention];
  if (!cache.memory) {
    cache.keys = cache.values = p.k;
    cache.keys.shape[1] = cache.values.shape[1] = caches.capacity;
    cache.memory = take(s, 2 * cache.keys.bytes());
    cache.keys.data = cache.memory.get();
    cache.values.data = cache.memory.get() + cache.keys.bytes();
  }
  compute::kv_append({p.k, p.v, s.call.positions, cache.keys, cache.values}, options_.kernels);
  if (s.time == 1 || caches.length > 0) {
    p.k = cache.keys;
    p.v = cache.values;
    p.positions = s.call.positions;
  }
  compute::attention(p, options_.kernels);
}

void BlockProgram::run_step(State& s, const Step& step) const {
  const Op& op = *step.op;
  if (op.kind == OpKind::kReshape) {
    const auto from = s.values.find(op.in[0]);  // else a parameter or an input: not ours to keep
    void* data = operand(s, step, 0).data;
    LiveValue alias{from == s.values.end() ? nullptr : from->second.buffer,
                    shape_of(op.out, s.batch, s.time)};
    alias.view.data = data;
    s.values[op.out] = std::move(alias);
    return;
  }
  const View y = make(s, step);
  switch (op.kind) {
    case OpKind::kEmbedding:
      return run_embedding(operand(s, step, 0), operand(s, step, 1), y);
    case OpKind::kLinear:
      return run_linear(s, step, y);
    case OpKind::kRmsNorm:
      return compute::rms_norm({operand(s, step, 0), operand(s, step, 1),
                                static_cast<float>(op.number("eps")), y, parts_of(step)},
                               options_.kernels);
    case OpKind::kRope:
      return run_rope(s, step, y);
    case OpKind::kAttention:
      return run_attention(s, step, y);
    case OpKind::kActivation:
      return compute::activation(
          {compute::activation_kind(op.text("kind")), operand(s, step, 0), y}, options_.kernels);
    case OpKind::kAdd:
      return compute::add(operand(s, step, 0), operand(s, step, 1), y, options_.kernels);
    case OpKind::kMul:
      if (step.activation != nullptr) return run_gate(s, step, y);
      return compute::mul(operand(s, step, 0), operand(s, step, 1), y, options_.kernels);
    case OpKind::kReshape:
      return;
  }
}

void BlockProgram::run_gate(State& s, const Step& step, const View& y) const {
  const auto kind = compute::activation_kind(step.activation->text("kind"));
  compute::gate({kind, operand(s, step, 0), operand(s, step, 1), y, parts_of(step)},
                options_.kernels);
}

void BlockProgram::run_linear(State& s, const Step& step, const View& y) const {
  if (step.linear) return step.linear->run(operand(s, step, 0), y);
  const View* bias = step.op->in.size() == 3 ? &param(step.op->in[2]) : nullptr;
  if (step.codes) {
    const ValueId v = step.in[0];
    const compute::Codes x = s.inputs.codes(v, s.values.at(v).view, *step.formats[0]);
    return compute::linear(x, *step.codes, bias, y, options_.kernels);
  }
  compute::linear(operand(s, step, 0), param(step.op->in[1]), bias, y, options_.kernels);
}

void BlockProgram::release_tables() const {
  for (const std::string& name : tables_)
    checkpoint_.release(name);
}

// A few tokens at a time: a row that is read from a mapped table may make megabytes around it
// resident. [any number of threads]
void BlockProgram::run_embedding(const View& ids, const View& table, const View& y) const {
  const int64_t tokens = ids.elements();
  const int64_t step = tables_.empty() ? tokens : kTokensOfTable;
  for (int64_t first = 0; first < tokens; first += step) {
    const int64_t count = std::min(step, tokens - first);
    auto* to = static_cast<std::byte*>(y.data) + first * (y.bytes() / tokens);
    compute::embedding(compute::view_of(ids.as<int64_t>() + first, kI64, {count}), table,
                       compute::view_of(to, y.dtype, {count, y.columns()}), options_.kernels);
    release_tables();
  }
}

LiveValues BlockProgram::run(const Call& call) const {
  State s{call,
          call.ids.shape[0],
          call.ids.shape[1],
          call.inputs,
          std::vector<std::optional<compute::RopeAngles>>(rope_tables_.size()),
          {exec_, options_.on_device, [&](int64_t bytes) { return take(s, bytes); }}};
  for (const auto& [v, value] : call.inputs)
    publish(s, v);
  for (const Step& step : steps_) {
    run_step(s, step);
    publish(s, step.op->out);
    for (const ValueId v : step.last_used) {
      s.values.erase(v);
      s.inputs.forget(v);
    }
  }
  LiveValues out;
  for (const ValueId v : wanted_)
    out[v] = std::move(s.values.at(v));
  return out;
}

}  // namespace mopt::pipeline
