#include "host/pipeline/activation_budget.hpp"

#include <algorithm>

#include "host/compute/memory.hpp"

namespace mopt::pipeline {
namespace {

// Of the process, beside what is predicted: a batch that is saved or loaded passes through it.
constexpr uint64_t kSpare = uint64_t{64} << 20;

uint64_t less(uint64_t bytes, uint64_t taken) {
  return bytes - std::min(bytes, taken);
}

}  // namespace

Budget activation_budget(const MemoryNeeds& needs, uint64_t room, std::optional<uint64_t> limit) {
  const plan::DeviceCost& cost = *needs.device;
  const uint64_t held = needs.process + kSpare;
  const uint64_t to_come = less(held, compute::resident_bytes());
  const uint64_t pinned =
      limit ? less(*limit, held) : less(compute::available_bytes(), to_come) / 2;
  return {room >= cost.peak ? UINT64_MAX : less(room, cost.without - cost.passing), pinned};
}

// Whole batches rest on the device: one less than bytes say may be there.
uint64_t pinned_at_most(const MemoryNeeds& needs, uint64_t room, std::optional<uint64_t> limit) {
  const plan::DeviceCost& cost = *needs.device;
  const Budget budget = activation_budget(needs, room, limit);
  if (budget.device >= cost.activations) return 0;
  const uint64_t batch = cost.passing / static_cast<uint64_t>(plan::kBatchesThere);
  const uint64_t elsewhere = cost.activations - less(budget.device, cost.passing) + batch;
  return std::min({elsewhere, cost.activations, budget.pinned});
}

}  // namespace mopt::pipeline
