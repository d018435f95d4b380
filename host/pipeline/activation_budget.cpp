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

Budget activation_budget(const MemoryNeeds& needs, const compute::MemoryUse& device,
                         std::optional<uint64_t> limit) {
  const plan::DeviceCost& cost = *needs.device;
  const uint64_t held = needs.process + kSpare;
  const uint64_t to_come = less(held, compute::resident_bytes());
  const uint64_t pinned =
      limit ? less(*limit, held) : less(compute::available_bytes(), to_come) / 2;
  const auto room = static_cast<uint64_t>(device.room);
  return {room >= cost.peak ? UINT64_MAX : less(room, cost.without - cost.passing), pinned};
}

}  // namespace mopt::pipeline
