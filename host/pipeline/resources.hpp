// The last stage before a run: does the machine have what the plan needs.
#pragma once

#include <cstdint>
#include <optional>

#include "host/compute/device.hpp"
#include "host/pipeline/prepare.hpp"
#include "host/pipeline/stream.hpp"
#include "host/plan/device_cost.hpp"

namespace mopt::pipeline {

// The device that a job is meant for; it may be opened or not.
struct DevicePlace {
  compute::MemoryRules rules = compute::kCudaMemory;
  uint64_t opened = 0;  // bytes of this process that are its libraries' already
  int64_t batch_tokens = kBatchTokens;
};
compute::MemoryRules rules_of(const compute::Device&);

struct MemoryNeeds {
  uint64_t process = 0;                    // at most, resident
  std::optional<plan::DeviceCost> device;  // absent: the job is for the CPU
};
MemoryNeeds memory_needs(const Prepared&, const std::optional<DevicePlace>&);
// The most that is taken of a device with this limit, where one is given.
uint64_t device_peak(const plan::DeviceCost&, std::optional<uint64_t> limit);

struct MemoryLimits {
  std::optional<uint64_t> process;  // --memory-limit
  std::optional<uint64_t> device;   // what may be taken there, where it is known
  enum class DeviceLimit { kOption, kFree } why = DeviceLimit::kOption;
};
// Of a device that is open.
MemoryLimits limits_of(std::optional<uint64_t> process, const compute::Device*);

// Throws Failure (R101) when the needs are above the limits, or above what the machine or the
// control group of this process has.
void check_memory(const Prepared&, const MemoryNeeds&, const MemoryLimits&);

}  // namespace mopt::pipeline
