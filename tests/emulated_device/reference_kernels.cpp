// The reference kernels as tables of a device.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "tests/emulated_device/emulated_device.hpp"
#include "tests/emulated_device/operands.hpp"

namespace mopt::compute::test {
namespace {

void run_now(const ActivationProblem& p) {
  activation_reference(p);
}
void run_now(const AttentionProblem& p) {
  attention_reference(p);
}
void run_now(const CastProblem& p) {
  cast_reference(p);
}
void run_now(const ElementwiseProblem& p) {
  elementwise_reference(p);
}
void run_now(const DivergenceProblem& p) {
  divergence_reference(p);
}
void run_now(const EmbeddingProblem& p) {
  embedding_reference(p);
}
void run_now(const KvAppendProblem& p) {
  kv_append_reference(p);
}
void run_now(const LinearCall& p) {
  if (p.x_scale) return linear_codes_reference(p);
  linear_reference({p.weight, p.bias})->run(p.x, p.y);
}
void run_now(const NllOnDevice& p) {
  const auto rows = static_cast<size_t>(p.logits.rows());
  nll_reference({p.logits, {p.targets.as<int64_t>(), rows}, p.result.as<double>()});
}

void run_now(const RopeLookup& p) {
  RopeAngles angles{p.cos.columns(), {}, {}};
  const int64_t* positions = p.positions.as<int64_t>();
  for (int64_t i = 0; i < p.positions.elements(); ++i) {
    const int64_t at = positions[i] * angles.half;
    angles.cos.insert(angles.cos.end(), p.cos.as<float>() + at,
                      p.cos.as<float>() + at + angles.half);
    angles.sin.insert(angles.sin.end(), p.sin.as<float>() + at,
                      p.sin.as<float>() + at + angles.half);
  }
  rope_reference({p.x, &angles, p.y});
}

// Calls fn(i, value) for every element.
template <class Fn>
void each(const View& v, const Fn& fn) {
  visit(Reals{v.data, real_type(v.dtype)}, [&](const auto* x) {
    for (int64_t i = 0; i < v.elements(); ++i)
      fn(i, to_float(x[i]));
  });
}

void run_now(const RangeProblem& p) {
  each(p.x, [&](int64_t i, float value) {
    uint32_t& part = p.parts[i % kRangeParts];
    part = std::max(part, std::bit_cast<uint32_t>(std::fabs(value)));
  });
}

void run_now(const GateProblem& p) {
  gate_reference(p);
  if (p.range_parts != nullptr) run_now(RangeProblem{p.y, p.range_parts});
}
void run_now(const RmsNormProblem& p) {
  rms_norm_reference(p);
  if (p.range_parts != nullptr) run_now(RangeProblem{p.y, p.range_parts});
}

void run_now(const SquaredErrorProblem& p) {
  std::vector<float> a(static_cast<size_t>(p.a.elements()));
  each(p.a, [&](int64_t i, float value) { a[static_cast<size_t>(i)] = value; });
  each(p.b, [&](int64_t i, float value) {
    const double difference = double{a[static_cast<size_t>(i)]} - value;
    double* part = p.parts + 2 * (i % kErrorParts);
    part[0] += difference * difference;
    part[1] += double{value} * value;
  });
}

template <class Problem>
void run(const Problem& problem, Queue& queue) {
  require_on_device(problem, queue);
  emulated_queue(queue).submit([problem] { run_now(problem); });
}

template <class Problem>
DeviceRows<Problem> one_row(std::string_view name) {
  static const std::array rows{
      DeviceKernel<Problem>{name, accept_any_on_device<Problem>, run<Problem>}};
  return rows;
}

// Stands for tensor cores: what linear_codes_refused finds.
std::string_view codes_refused(const LinearCall& p, const DeviceInfo& info) {
  if (!p.x_scale) return "it takes codes only";
  if (info.capability < 89) return "the device has no tensor cores for codes";
  if (p.weight.shape[0] % 16 != 0 || p.weight.shape[1] % 16 != 0)
    return "it takes sizes of a multiple of 16 only";
  return {};
}

constexpr std::array kLinear{
    DeviceKernel<LinearCall>{"linear.emulated_codes", codes_refused, run<LinearCall>},
    DeviceKernel<LinearCall>{"linear.emulated", accept_any_on_device<LinearCall>, run<LinearCall>}};

}  // namespace

const DeviceKernels& reference_kernels() {
  static const DeviceKernels kernels{
      one_row<ActivationProblem>("activation.emulated"),
      one_row<AttentionProblem>("attention.emulated"),
      one_row<CastProblem>("cast.emulated"),
      one_row<DivergenceProblem>("divergence.emulated"),
      one_row<ElementwiseProblem>("elementwise.emulated"),
      one_row<EmbeddingProblem>("embedding.emulated"),
      one_row<GateProblem>("gate.emulated"),
      one_row<KvAppendProblem>("kv_append.emulated"),
      kLinear,
      one_row<NllOnDevice>("nll.emulated"),
      one_row<RangeProblem>("range.emulated"),
      one_row<RmsNormProblem>("rms_norm.emulated"),
      one_row<RopeLookup>("rope.emulated"),
      one_row<SquaredErrorProblem>("squared_error.emulated"),
  };
  return kernels;
}

}  // namespace mopt::compute::test
