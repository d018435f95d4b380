#include "host/pipeline/resources.hpp"

#include <algorithm>

#include "host/compute/memory.hpp"
#include "host/plan/cost.hpp"

namespace mopt::pipeline {
namespace {

uint64_t mib(uint64_t bytes) {
  return (bytes + (uint64_t{1} << 20) - 1) >> 20;
}

}  // namespace

void check_memory(const Prepared& job, std::optional<uint64_t> limit) {
  const uint64_t needed = job.plan.cost.peak_memory;
  const uint64_t machine = compute::available_bytes();
  const bool limited = limit && *limit < needed;
  if (!limited && (machine == 0 || machine >= needed)) return;
  const uint64_t allowed = limited ? *limit : machine;
  const bool self = job.plan.needs_data() && plan::writes_own_text(job.recipe);
  Diagnostic d;
  d.code = "R101";
  d.message =
      "the run needs " + std::to_string(mib(needed)) + " MiB" +
      (self ? " (a model that writes its own calibration text has to fit into memory)" : "") +
      ", " + (limited ? "--memory-limit allows " : "the machine has ") +
      std::to_string(mib(allowed)) + " MiB";
  // The next run holds a few pages more or less when it plans.
  d.remedy = limited ? "give at least " + std::to_string(mib(needed) + 1) + "MiB, or " : "";
  d.remedy += self ? "give calibration.data = a .txt, .jsonl or id file"
                   : "take fewer calibration samples, a shorter seq_len or a recipe without "
                     "calibration";
  throw Failure(std::move(d));
}

}  // namespace mopt::pipeline
