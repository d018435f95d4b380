// Running the blocks of a graph. A BlockProgram holds one block's weights in the kernels' own
// layout and runs rows of tokens through it, from any number of threads at once.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "host/compute/attention/attention.hpp"
#include "host/compute/dispatch.hpp"
#include "host/compute/linear/linear.hpp"
#include "host/compute/rope/rope.hpp"
#include "host/pipeline/checkpoint.hpp"
#include "host/pipeline/on_device.hpp"

namespace mopt::pipeline {

// Buffers that come back when their last user lets go, so that a run allocates only once.
class BufferPool : public std::enable_shared_from_this<BufferPool> {
 public:
  // Shared: a reshape is a second value over the same bytes.
  using Buffer = std::shared_ptr<std::byte>;
  Buffer take(size_t bytes);

 private:
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  using Block = std::unique_ptr<std::byte, Free>;
  void give_back(size_t bytes, std::byte* block);
  std::mutex mutex_;
  std::multimap<size_t, Block> free_;
};

// A value while a block runs, in memory of where it runs.
struct LiveValue {
  BufferPool::Buffer buffer;  // keeps view's bytes alive; empty when they belong to the caller
  compute::View view;
};
using LiveValues = std::map<graph::ValueId, LiveValue>;

// Keys and values of one row and one attention op, growing as tokens come.
struct KvCache {
  int64_t length = 0, capacity = 0;
  std::vector<std::byte> k, v;
};

// The same on a device, of all rows of one attention op: [rows, capacity, K, D], taken at its first
// run. Rows have one length.
struct CacheOnDevice {
  compute::Buffer memory;
  compute::View keys, values;
};
struct CachesOnDevice {
  int64_t capacity = 0, length = 0;
  std::vector<CacheOnDevice> ops;  // attention ops of the block
};

struct ForwardOptions {
  DLDataType dtype = kBf16;  // of all activations: bf16 or f32
  compute::Options kernels;
  // Where to run, when not on the CPU; kernels.queue is its queue.
  OnDevice* on_device = nullptr;
  // A block's parameters in that device's memory and in `dtype`, which stay there for as long as
  // the program lives. On the CPU the checkpoint has them.
  std::function<compute::View(const std::string& parameter)> param;
  // The same for a weight whose product is one of codes.
  std::function<compute::Codes(const std::string& parameter)> codes;
  bool quantize_inputs = true;  // as the checkpoint says; off for calibration
  // Values to look at as soon as they exist, e.g. the inputs of linears.
  std::vector<graph::ValueId> observed;
  // On a device: parts of the ranges (host/compute/range) of observed values, there. Ops that can
  // raise them as they make the value; finds_range() says of which.
  std::map<graph::ValueId, uint32_t*> ranges;
  // What a run returns; ops that lead neither here nor to an observed value are left out. Absent:
  // the block's live-outs.
  std::optional<std::vector<graph::ValueId>> wanted;
};

// One call: rows of equal length.
struct Call {
  compute::View ids, positions;                         // i64 [B, T]
  int64_t length = 0;                                   // of the sequences: beyond any position
  LiveValues inputs;                                    // the block's live-ins
  std::vector<std::vector<KvCache>>* caches = nullptr;  // [attention op of the block][row]; or none
  CachesOnDevice* caches_on_device = nullptr;           // in place of `caches` on a device
  // Called for each observed value, from the calling thread.
  std::function<void(graph::ValueId, const compute::View&)> observe;
  std::shared_ptr<BufferPool> pool;
};

class BlockProgram {
 public:
  BlockProgram(const Checkpoint&, size_t block, ForwardOptions);
  // The values wanted. [any number of threads]
  LiveValues run(const Call&) const;
  int64_t weight_bytes() const { return weight_bytes_; }
  size_t attention_ops() const { return attention_ops_; }
  // Kernels of one run, reshapes among them.
  size_t steps() const { return steps_.size(); }
  // The op that makes the value raises the parts that options.ranges has for it.
  bool finds_range(graph::ValueId) const;
  // On a device: chooses the kernels of products and attention for so many rows of that many
  // tokens, on options.queue's. Nothing is run.
  void foresee(const compute::Options&, int64_t rows, int64_t tokens) const;
  // No op mixes tokens: the block may be run on parts of a row.
  bool token_wise() const;
  // On a device, two runs on one token of each row are the same work, wherever the tokens stand.
  bool repeatable() const;
  const graph::Block& block() const { return graph_.blocks[block_]; }

 private:
  // One op with what it needs prepared. A product with an activation that nobody else needs is one
  // step, whose first operand is the activation's.
  struct Step {
    const graph::Op* op = nullptr;
    const graph::Op* activation = nullptr;
    std::vector<graph::ValueId> in;                   // operands
    std::optional<compute::PreparedLinear> linear;    // on the CPU
    std::optional<compute::Codes> codes;              // the weight of a product of codes
    size_t rope_table = 0;                            // index into rope_tables_
    size_t attention = 0;                             // which attention op of the block this is
    std::vector<std::optional<InputFormat>> formats;  // per operand
    std::vector<graph::ValueId> last_used;            // values that nobody needs afterwards
  };
  struct State;

  void select_ops();
  void join_gates();
  bool joins_gates() const;
  Step* maker_of_factor(graph::ValueId);
  uint32_t* parts_of(const Step&) const;
  void prepare(const Checkpoint&, Step&);
  void prepare_on_device(const Checkpoint&, Step&);
  void prepare_product(const Checkpoint&, Step&);
  bool multiplies_codes(const Checkpoint&, const Step&, const std::string& weight) const;
  void prepare_rope(Step&);
  void prepare_attention(const Checkpoint&, Step&);
  void run_gate(State&, const Step&, const compute::View& y) const;
  void run_linear(State&, const Step&, const compute::View& y) const;
  std::shared_ptr<std::byte> take(State&, int64_t bytes) const;
  std::shared_ptr<std::byte> reusable(const State&, const Step&, int64_t bytes) const;
  void find_last_uses();
  const compute::View& param(graph::ValueId) const;
  compute::View operand(State&, const Step&, size_t index) const;
  void run_step(State&, const Step&) const;
  void release_tables() const;
  void run_embedding(const compute::View& ids, const compute::View& table,
                     const compute::View& y) const;
  void run_rope(State&, const Step&, const compute::View& y) const;
  void run_attention(State&, const Step&, const compute::View& y) const;
  void attend_cached(State&, const Step&, compute::AttentionProblem) const;
  compute::View shape_of(graph::ValueId, int64_t rows, int64_t tokens) const;
  compute::View make(State&, const Step&) const;
  void publish(State&, graph::ValueId) const;

  const Checkpoint& checkpoint_;
  const graph::Model& graph_;
  const mopt_exec* exec_;
  size_t block_;
  ForwardOptions options_;
  std::vector<graph::ValueId> wanted_;
  std::vector<Step> steps_;
  std::vector<compute::RopeTable> rope_tables_;
  std::unordered_map<graph::ValueId, ParamData>
      params_;  // those that are not inside a PreparedLinear
  std::vector<std::string>
      tables_;  // large parameters that are read in place, a row here and there
  int64_t weight_bytes_ = 0;
  size_t attention_ops_ = 0;
};

}  // namespace mopt::pipeline
