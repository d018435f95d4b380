// Writing text with a model.
#pragma once

#include <functional>
#include <vector>

#include "host/pipeline/session.hpp"

namespace mopt::pipeline {

struct Sampling {
  double temperature = 0;  // 0: greedy
  double top_p = 1;
  uint64_t seed = 0;
};

// The next token of one row; the random number depends on (seed, row, position) alone.
int32_t sample(std::span<const float> logits, const Sampling&, uint64_t row, uint64_t position);

struct Generation {
  std::vector<int32_t> ids;   // without the prompt
  std::string finish_reason;  // "stop" or "length"
  double seconds = 0;
};

// on_token is called for each new token; false stops.
Generation generate(const Checkpoint&, const ForwardOptions&, const std::vector<int32_t>& prompt,
                    int64_t max_new_tokens, const Sampling&,
                    const std::function<bool(int32_t)>& on_token, Steps = Steps::kRecorded);

struct SelfText {
  int64_t samples = 0, seq_len = 0;
  uint64_t seed = 0;
};

// Called with the tokens written so far, of all rows; false stops. A batch that did not fit is
// begun again.
using TextProgress = std::function<bool(int64_t written, int64_t of)>;

// Rows that the model itself writes, sampled at temperature 1 from its begin token (or from a
// random one, when it has none): on a device as many at once as fit. None when `progress` stops.
TokenRows write_self_text(const Checkpoint&, const ForwardOptions&, const SelfText&,
                          const TextProgress&, Steps = Steps::kRecorded);

}  // namespace mopt::pipeline
