// What a device computes: for every op a table of kernels, fastest first; the last row takes all.
#pragma once

#include <string>

#include "host/compute/activation/activation.hpp"
#include "host/compute/attention/attention.hpp"
#include "host/compute/cast/cast.hpp"
#include "host/compute/device.hpp"
#include "host/compute/divergence/divergence.hpp"
#include "host/compute/elementwise/elementwise.hpp"
#include "host/compute/embedding/embedding.hpp"
#include "host/compute/gate/gate.hpp"
#include "host/compute/kv_append/kv_append.hpp"
#include "host/compute/linear/linear.hpp"
#include "host/compute/nll/nll.hpp"
#include "host/compute/range/range.hpp"
#include "host/compute/rms_norm/rms_norm.hpp"
#include "host/compute/rope/rope.hpp"
#include "host/compute/squared_error/squared_error.hpp"

namespace mopt::compute {

template <class Problem>
struct DeviceKernel {
  std::string_view name;
  // Empty: it can run.
  std::string_view (*refuse)(const Problem&, const DeviceInfo&);
  void (*run)(const Problem&, Queue&);
};

template <class Problem>
std::string_view accept_any_on_device(const Problem&, const DeviceInfo&) {
  return {};
}

template <class Problem>
using DeviceRows = std::span<const DeviceKernel<Problem>>;

// Views of problems are device memory, but for what a problem says.
struct DeviceKernels {
  DeviceRows<ActivationProblem> activation;
  DeviceRows<AttentionProblem> attention;
  DeviceRows<CastProblem> cast;
  DeviceRows<DivergenceProblem> divergence;
  DeviceRows<ElementwiseProblem> elementwise;
  DeviceRows<EmbeddingProblem> embedding;
  DeviceRows<GateProblem> gate;
  DeviceRows<KvAppendProblem> kv_append;
  DeviceRows<LinearCall> linear;
  DeviceRows<NllOnDevice> nll;
  DeviceRows<RangeProblem> range;
  DeviceRows<RmsNormProblem> rms_norm;
  DeviceRows<RopeLookup> rope;
  DeviceRows<SquaredErrorProblem> squared_error;
};

// Calls fn with the table of each op.
template <class Fn>
void for_each_table(const DeviceKernels& k, Fn&& fn) {
  fn(k.activation);
  fn(k.attention);
  fn(k.cast);
  fn(k.divergence);
  fn(k.elementwise);
  fn(k.embedding);
  fn(k.gate);
  fn(k.kv_append);
  fn(k.linear);
  fn(k.nll);
  fn(k.range);
  fn(k.rms_norm);
  fn(k.rope);
  fn(k.squared_error);
}

// Runs the first row of `rows` that is willing, or the forced one, on options.queue.
template <class Problem>
void run_on_device(DeviceRows<Problem> DeviceKernels::*table, const Problem& problem,
                   const Options& options) {
  Queue& queue = *options.queue;
  const DeviceInfo& info = queue.device().info();
  const DeviceRows<Problem> rows = queue.device().kernels().*table;
  const DeviceKernel<Problem>& chosen = pick(
      rows, options, [&](const DeviceKernel<Problem>& row) { return row.refuse(problem, info); });
  if (options.work == Work::kRun) chosen.run(problem, queue);
}

}  // namespace mopt::compute
