// A model that writes: all of it resident, keys and values of what it has seen kept.
#pragma once

#include <vector>

#include "host/pipeline/block_params.hpp"
#include "host/pipeline/stream.hpp"

namespace mopt::pipeline {

// How a device does the step that appends one token to each row.
enum class Steps {
  kRecorded,  // recorded once, then repeated as a whole, where the model allows it
  kEach,      // kernel by kernel
};

// The model, and one growing sequence per row, on the CPU or on the device of its options.
class Session {
 public:
  Session(const Checkpoint&, const ForwardOptions&, Steps = Steps::kRecorded);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Empty rows with room for `capacity` tokens each; what was before is forgotten.
  void begin(size_t rows, int64_t capacity);
  // Appends the same number of tokens to every row.
  void append(const TokenRows& tokens);
  // What follows a row's last token: f32 [V]. [any number of threads]
  std::vector<float> logits(size_t row) const;

  int64_t vocabulary() const { return vocabulary_; }
  int64_t length() const { return length_; }
  // Rows with room for `capacity` tokens that fit beside the model: on a device as its memory
  // says, at most `rows`.
  int64_t rows_that_fit(int64_t rows, int64_t capacity) const;
  // Steps so far that were repeated from a recording.
  int64_t repeated() const { return repeated_; }

 private:
  // Ids, then positions, of one call [rows, T] i64; on a device also in pinned memory.
  struct Ids {
    compute::Buffer pinned, memory;
  };
  Ids make_ids(int64_t tokens) const;
  void fill(const TokenRows&, int64_t* ids) const;
  LiveValue run_blocks(const compute::View& ids, const compute::View& positions);
  void append_on_device(const TokenRows&);
  void run_on_device(const Ids&, int64_t time);

  const graph::Model& graph_;
  OnDevice* on_;  // NULL: on the CPU
  DLDataType dtype_;
  Steps steps_;
  BlockParams params_;
  std::vector<BlockProgram> blocks_;
  bool repeatable_ = false;  // all blocks are
  std::shared_ptr<BufferPool> pool_;
  int64_t vocabulary_ = 0, rows_ = 0, capacity_ = 0, length_ = 0;
  std::vector<std::vector<std::vector<KvCache>>> caches_;  // [block][attention op][row]
  std::vector<CachesOnDevice> caches_on_device_;           // [block]
  LiveValue logits_;                                       // [rows, n, V] on the CPU, or pinned
  Ids step_;                                               // of one token per row
  int64_t stepped_ = 0, repeated_ = 0;
  std::unique_ptr<compute::Graph> recorded_;  // names the memory above
};

}  // namespace mopt::pipeline
