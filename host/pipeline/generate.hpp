// Writing text: the whole model resident, keys and values cached.
#pragma once

#include <functional>
#include <vector>

#include "host/pipeline/stream.hpp"

namespace mopt::pipeline {

struct Sampling {
  double temperature = 0;  // 0: greedy
  double top_p = 1;
  uint64_t seed = 0;
};

// The model, and one growing sequence per row.
class Session {
 public:
  Session(const Checkpoint&, ForwardOptions, size_t rows, int64_t capacity);
  // Appends the same number of tokens to every row; the logits that follow, f32 [rows, V].
  const std::vector<float>& append(const TokenRows& tokens);
  int64_t vocabulary() const { return vocabulary_; }
  int64_t length() const { return length_; }

 private:
  const graph::Model& graph_;
  DLDataType dtype_;
  std::vector<BlockProgram> blocks_;
  std::vector<std::vector<std::vector<KvCache>>> caches_;  // [block][attention op][row]
  std::shared_ptr<BufferPool> pool_;                       // shared with the values of a call
  size_t rows_;
  int64_t vocabulary_ = 0, length_ = 0;
  std::vector<float> logits_;
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
                    const std::function<bool(int32_t)>& on_token);

struct SelfText {
  int64_t samples = 0, seq_len = 0;
  uint64_t seed = 0;
};

// Rows that the model itself writes, sampled at temperature 1 from its begin token (or from a
// random one, when it has none). `progress` is called with the tokens written so far per row; false
// stops.
TokenRows write_self_text(const Checkpoint&, const ForwardOptions&, const SelfText&,
                          const std::function<bool(int64_t written, int64_t of)>& progress);

}  // namespace mopt::pipeline
