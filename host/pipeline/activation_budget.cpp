#include "host/pipeline/activation_budget.hpp"

#include <algorithm>
#include <vector>

#include "host/compute/memory.hpp"
#include "host/plan/forward_cost.hpp"

namespace mopt::pipeline {
namespace {

// Blocks whose weights are on the device: two are read, one computes, one is encoded.
constexpr size_t kBlocksThere = 4;
// The pinned ring that weights are read through, and bytes on their way to the disk.
constexpr uint64_t kLoopOnHost = uint64_t{704} << 20;
// Queues keep what they gave out, in sizes of their own; libraries have workspaces.
constexpr uint64_t kMarginShare = 8;

uint64_t less(uint64_t bytes, uint64_t taken) {
  return bytes - std::min(bytes, taken);
}

// The most that neighbouring blocks have in parameters, as they are stored and as the model
// computes with them.
uint64_t weight_bytes(const Prepared& job, DLDataType dtype) {
  std::vector<uint64_t> blocks;
  const graph::Model& graph = job.source->required_graph();
  for (const graph::Block& block : graph.blocks) {
    uint64_t bytes = 0;
    for (const int p : block.params) {
      const mopt::StoredTensor* t =
          job.source->container().find(graph.params[static_cast<size_t>(p)].name);
      if (t == nullptr) continue;
      const auto n = static_cast<uint64_t>(elements(t->shape));
      bytes += mopt_nbytes(n, t->dtype) + (same(t->dtype, dtype) ? 0 : mopt_nbytes(n, dtype));
    }
    blocks.push_back(bytes);
  }
  uint64_t most = 0, there = 0;
  for (size_t b = 0; b < blocks.size(); ++b) {
    there += blocks[b];
    if (b >= kBlocksThere) there -= blocks[b - kBlocksThere];
    most = std::max(most, there);
  }
  return most;
}

// Of what one unit is encoded to.
uint64_t encoded_bytes(const plan::Plan& plan) {
  uint64_t largest = 0;
  for (const plan::Unit& unit : plan.units) {
    uint64_t bytes = 0;
    for (const size_t i : unit.items)
      bytes += plan.items[i].outcome == plan::Outcome::kCopied ? 0 : plan.items[i].bytes();
    largest = std::max(largest, bytes);
  }
  return largest;
}

}  // namespace

LoopMemory loop_memory(const Prepared& job, DLDataType dtype, int64_t batch_tokens) {
  const plan::Plan& plan = job.plan;
  const plan::ForwardShape batch{1, batch_tokens, 1, dtype};
  const plan::ForwardEnd end{static_cast<size_t>(std::max(0, plan.last_forward_block)), {}};
  uint64_t working = 0;
  for (const plan::ForwardMemory& block :
       plan::forward_memory(job.source->required_graph(), batch, end))
    working = std::max(working, block.held);
  const uint64_t encoded = encoded_bytes(plan);
  const uint64_t device = weight_bytes(job, dtype) + working + 2 * encoded;
  return {device + device / kMarginShare, kLoopOnHost + 2 * encoded};
}

Budget activation_budget(const LoopMemory& loop, const compute::MemoryUse& device,
                         std::optional<uint64_t> limit) {
  const uint64_t available = compute::available_bytes(), resident = compute::resident_bytes();
  const uint64_t left = limit ? less(*limit, resident) : less(available, resident) / 2;
  return {less(static_cast<uint64_t>(device.room), loop.device), less(left, loop.host)};
}

}  // namespace mopt::pipeline
