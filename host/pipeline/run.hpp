// The main job: the block loop from the plan to the finished directory.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <string>

#include "host/compute/device.hpp"
#include "host/compute/dispatch.hpp"
#include "host/pipeline/output.hpp"
#include "host/pipeline/prepare.hpp"
#include "host/pipeline/stream.hpp"
#include "host/report/progress.hpp"
#include "host/report/report.hpp"

namespace mopt::pipeline {

struct RunRequest {
  Unfinished unfinished = Unfinished::kRefuse;
  Existing existing = Existing::kRefuse;
  std::optional<uint64_t> memory_limit;
  compute::Options kernels;
  std::string command;                   // as typed, for the report
  std::string resume_command;            // told to whoever interrupts the run
  std::string version, commit;           // of the program
  std::string device;                    // the choice and its reason
  compute::Device* on_device = nullptr;  // NULL: the CPU
  uint64_t opened_bytes = 0;             // of this process, that are its libraries'
  int64_t batch_tokens = kBatchTokens;   // of calibration rows that run together on a device
  int threads = 1;
  // Counts SIGINT and SIGTERM; the run ends after the block in work when it is not 0.
  const std::atomic<int>* interrupts = nullptr;
  Progress* progress = nullptr;                              // may be NULL
  std::function<std::vector<Diagnostic>()> plugin_warnings;  // since the last call; may be empty
  std::function<void(const std::string&)> say;  // a decision, one sentence; may be empty
};

struct RunResult {
  Report report;
  bool already_finished = false;  // --resume found nothing to do; the report is empty
};

// Throws Failure; I101 with the command that resumes when it was interrupted, V1xx when the written
// directory does not verify, A101 when a gate was missed (the output is in its place then).
RunResult run(Prepared&, const RunRequest&);

}  // namespace mopt::pipeline
