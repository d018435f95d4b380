#include "host/pipeline/resources.hpp"

#include <algorithm>

#include "host/compute/memory.hpp"
#include "host/compute/parallel.hpp"
#include "host/pipeline/calibrate.hpp"
#include "host/plan/cost.hpp"

namespace mopt::pipeline {
namespace {

constexpr const char* kSmallerJob =
    "take fewer calibration samples, a shorter seq_len or a recipe without calibration";

uint64_t mib(uint64_t bytes) {
  return (bytes + (uint64_t{1} << 20) - 1) >> 20;
}

[[noreturn]] void fail(std::string message, std::string remedy) {
  Diagnostic d;
  d.code = "R101";
  d.message = std::move(message);
  d.remedy = std::move(remedy);
  throw Failure(std::move(d));
}

bool writes_own_text(const Prepared& job) {
  return job.plan.needs_data() && plan::writes_own_text(job.recipe);
}

void check_process(const Prepared& job, uint64_t needed, std::optional<uint64_t> limit) {
  const uint64_t machine = compute::available_bytes();
  const bool limited = limit && *limit < needed;
  if (!limited && (machine == 0 || machine >= needed)) return;
  const bool self = writes_own_text(job);
  // The next run holds a few pages more or less when it plans.
  const std::string remedy =
      limited ? "give at least " + std::to_string(mib(needed) + 1) + "MiB, or " : "";
  fail("the run needs " + std::to_string(mib(needed)) + " MiB" +
           (self ? " (a model that writes its own calibration text has to fit into memory)" : "") +
           ", " + (limited ? "--memory-limit allows " : "the machine has ") +
           std::to_string(mib(limited ? *limit : machine)) + " MiB",
       remedy + (self ? "give calibration.data = a .txt, .jsonl or id file" : kSmallerJob));
}

void check_device(const plan::DeviceCost& cost, const MemoryLimits& limits) {
  if (!limits.device || *limits.device >= cost.smallest) return;
  const bool option = limits.why == MemoryLimits::DeviceLimit::kOption;
  fail("the run needs " + std::to_string(mib(cost.smallest)) + " MiB of the device, " +
           (option ? "--device-memory-limit allows " : "it has ") +
           std::to_string(*limits.device >> 20) + " MiB" + (option ? "" : " left"),
       (option ? "give at least " + std::to_string(mib(cost.smallest)) + "MiB, or "
               : "end what else runs there, or ") +
           "use a shorter seq_len or --device cpu");
}

}  // namespace

compute::MemoryRules rules_of(const compute::Device& device) {
  return device.info().type == kDLCUDA ? compute::kCudaMemory : compute::kExactMemory;
}

MemoryNeeds memory_needs(const Prepared& job, const std::optional<DevicePlace>& place) {
  if (!place) return {job.plan.cost.peak_memory, std::nullopt};
  const uint64_t resident = compute::resident_bytes();
  const plan::PlanInput in{job.recipe,
                           job.source->registry(),
                           job.source->container(),
                           job.source->graph(),
                           config_text(*job.source),
                           compute_type(*job.source),
                           compute::thread_count(),
                           resident - std::min(resident, place->opened)};
  const plan::DeviceCost cost =
      plan::estimate_on_device(in, job.plan, {place->batch_tokens, place->rules});
  return {cost.host, cost};
}

uint64_t device_peak(const plan::DeviceCost& cost, std::optional<uint64_t> limit) {
  const bool text_there = !limit || cost.own_text <= *limit;
  const uint64_t peak = std::max(cost.peak, text_there ? cost.own_text_of_all : 0);
  return limit ? std::min(peak, *limit) : peak;
}

MemoryLimits limits_of(std::optional<uint64_t> process, const compute::Device* device) {
  if (device == nullptr) return {process, std::nullopt};
  const compute::MemoryUse use = device->memory();
  const bool option = use.limit < device->info().total_bytes && use.room == use.limit - use.in_use;
  return {process, static_cast<uint64_t>(use.room),
          option ? MemoryLimits::DeviceLimit::kOption : MemoryLimits::DeviceLimit::kFree};
}

void check_memory(const Prepared& job, const MemoryNeeds& needs, const MemoryLimits& limits) {
  uint64_t process = needs.process;
  if (needs.device) {
    check_device(*needs.device, limits);
    const bool text_on_cpu = limits.device && needs.device->own_text > *limits.device;
    if (text_on_cpu) process = std::max(process, job.plan.cost.peak_memory);
  }
  check_process(job, process, limits.process);
}

}  // namespace mopt::pipeline
