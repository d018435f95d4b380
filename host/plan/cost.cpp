#include "host/plan/cost.hpp"

#include <algorithm>

namespace mopt::plan {
namespace {

// Rates of two cores with AVX-512, rounded down; see tests/bench.
constexpr double kEncodeBytesPerSecond = 1e9, kFlopsPerSecond = 3e11;

// While one weight is encoded: its source, its parts, and the row chunk that its error is measured
// on.
uint64_t encode_memory(const Plan& plan, const Unit& unit) {
  uint64_t peak = 0;
  for (const size_t i : unit.items) {
    const Item& item = plan.items[i];
    if (item.outcome == Outcome::kCopied || item.outcome == Outcome::kDropped) continue;
    uint64_t bytes = item.bytes();
    for (const TensorDecl& d : item.parts)
      bytes += d.bytes();
    // The exporter's packed form, where it is another than the quantizer's.
    for (const TensorDecl& d : item.outputs)
      bytes += d.bytes();
    if (item.pruned) bytes += static_cast<uint64_t>(elements(item.shape)) + item.bytes();
    peak = std::max(peak, bytes);
  }
  return peak;
}

struct Traffic {
  uint64_t live = 0;    // activations kept between blocks, per token
  uint64_t widest = 0;  // values alive inside a block, per token
};

uint64_t bytes_per_token(const graph::Model& model, graph::ValueId v) {
  uint64_t elements = 1;
  for (const int64_t d : model.values[v].dims)
    elements *= d > 0 ? static_cast<uint64_t>(d) : 1;
  return elements * 2;
}

Traffic traffic(const graph::Model& model, int last_block) {
  Traffic t;
  for (int b = 0; b <= last_block; ++b) {
    const graph::Block& block = model.blocks[static_cast<size_t>(b)];
    uint64_t live = 0, inside = 0;
    for (const graph::ValueId v : block.live_in)
      live += bytes_per_token(model, v);
    for (size_t i = block.first_op; i < block.end_op; ++i)
      inside += bytes_per_token(model, model.ops[i].out);
    t.live = std::max(t.live, live);
    t.widest = std::max(t.widest, inside);
  }
  return t;
}

uint64_t block_weights(const Plan& plan, const Unit& unit) {
  uint64_t bytes = 0;
  for (const size_t i : unit.items)
    bytes += plan.items[i].bytes();
  return bytes;
}

}  // namespace

Cost estimate(const PlanInput& in, const Plan& plan) {
  Cost cost;
  uint64_t encode = 0, weights = 0, total = 0;
  for (const Unit& unit : plan.units) {
    encode = std::max(encode, encode_memory(plan, unit));
    if (unit.block >= 0 && unit.block <= plan.last_forward_block) {
      weights = std::max(weights, block_weights(plan, unit));
    }
    total += block_weights(plan, unit);
  }
  double flops = 0;
  uint64_t activations = 0;
  if (plan.needs_data()) {
    const Calibration& c = *in.recipe.calibration;
    const auto tokens = static_cast<uint64_t>(c.samples.value * c.seq_len.value);
    const Traffic t = traffic(*in.graph, plan.last_forward_block);
    activations = tokens * t.live + 2 * static_cast<uint64_t>(c.seq_len.value) * t.widest;
    flops = 2.0 * static_cast<double>(tokens) * static_cast<double>(total / 2);
  }
  cost.block_memory = std::max(weights, encode);
  cost.peak_memory = kBaseMemory + std::max(weights + activations, encode + activations);
  cost.scratch_bytes = activations;
  cost.seconds = static_cast<double>(total) / kEncodeBytesPerSecond + flops / kFlopsPerSecond;
  return cost;
}

}  // namespace mopt::plan
