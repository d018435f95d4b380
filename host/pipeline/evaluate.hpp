// Perplexity and logits of a checkpoint, block by block in constant memory; and against a
// reference.
#pragma once

#include <filesystem>
#include <optional>

#include "host/pipeline/stream.hpp"

namespace mopt::pipeline {

struct ReferenceScores {
  double perplexity = 0;
  double kl_mean = 0, kl_p99 = 0;  // nats, of the reference's distribution against this one's
  double top1_agreement = 0;
};

struct Scores {
  int64_t tokens = 0;  // predicted ones
  double nll = 0;      // mean
  double perplexity = 0;
  std::optional<ReferenceScores> reference;
};

struct EvalOptions {
  ForwardOptions forward;
  std::function<void(size_t block, size_t blocks)> progress;
  // Lets all of it run on a device; NULL: on the CPU.
  void use(compute::Device*, Services&);

 private:
  std::shared_ptr<OnDevice> on_device_;
};

// Every row is a window; T-1 tokens of each are predicted.
Scores evaluate(const Checkpoint&, const TokenRows& windows, const EvalOptions&,
                const Checkpoint* reference = nullptr);

// Writes `logits`, f32 [rows, T, V], to a safetensors file. Rows have one length. The shape.
std::vector<int64_t> write_logits(const Checkpoint&, const TokenRows& rows, const EvalOptions&,
                                  const std::filesystem::path& out);

}  // namespace mopt::pipeline
