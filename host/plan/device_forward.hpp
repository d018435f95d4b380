// What batches of rows take of a device's memory on their way through the blocks of a graph.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <vector>

#include "host/graph/graph.hpp"
#include "host/plan/pool_model.hpp"

namespace mopt::plan {

struct DeviceRows {
  int64_t rows = 0, tokens = 0;  // sequences, and tokens of each
  int64_t batch_rows = 1;        // that run together
  int64_t there = 0;             // batches whose activations are on the device at a time
  DLDataType dtype = kBf16;      // of activations
};

class DeviceForward {
 public:
  // Keeps references.
  DeviceForward(const graph::Model&, const DeviceRows&, PoolModel&);
  // Runs the next block. Samples of `observed` stay taken until `release`.
  enum class Results { kPassOn, kDrop };  // kDrop: only what is observed matters
  std::vector<PoolBlock> run(const std::vector<graph::ValueId>& observed, Results);
  void release(const std::vector<PoolBlock>&);
  // The most that the activations of all rows between two blocks take.
  uint64_t activations() const { return activations_; }

 private:
  // Memory of values; a reshape, or what is written over an operand, shares it.
  struct Buffer {
    PoolBlock block;
    int64_t bytes;  // asked for
    int users;
    bool reusable;  // it began inside of the block that runs
  };
  using Live = std::map<graph::ValueId, PoolBlock>;
  // One batch in a block.
  struct Batch {
    int64_t rows;
    std::map<graph::ValueId, size_t> buffer_of;
    std::vector<Buffer> buffers;
  };
  struct Step {
    const graph::Op* op;
    std::vector<graph::ValueId> last_used;
  };

  int64_t bytes_of(graph::ValueId, int64_t rows) const;
  int64_t rows_of(size_t batch) const;
  std::vector<Step> steps_of(const graph::Block&, const std::set<graph::ValueId>& wanted,
                             const std::vector<graph::ValueId>& observed) const;
  void run_inside(size_t batch, const std::vector<Step>&, const std::set<graph::ValueId>& wanted,
                  const std::vector<graph::ValueId>& observed, std::vector<PoolBlock>& samples);
  void pass_over(size_t batch, const std::set<graph::ValueId>& wanted);
  void run_step(Batch&, const Step&);
  std::optional<size_t> written_over(const Batch&, const Step&, int64_t bytes) const;
  void take_tables(const graph::Op&);
  void drop(Batch&, graph::ValueId);
  void keep_sample(graph::ValueId, std::vector<PoolBlock>& samples);

  const graph::Model& model_;
  const DeviceRows shape_;
  PoolModel& pool_;
  size_t next_block_ = 0;
  std::vector<Live> live_;              // of each batch that is there
  std::vector<graph::ValueId> needed_;  // after the block that runs
  std::set<const graph::Op*> turned_;
  std::vector<std::pair<graph::Attributes, int64_t>> tables_;  // of angles, with their half size
  bool multiplied_ = false;
  uint64_t activations_ = 0;
};

}  // namespace mopt::plan
