// Rows of tokens on their way through the blocks of a model: all rows through one block, then the
// next. Memory holds the activations between two blocks, and one block's weights.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "host/pipeline/activations.hpp"

namespace mopt::pipeline {

using TokenRows = std::vector<std::vector<int32_t>>;

// Rows that run together: on the CPU one, on a device as many of one length as fill it.
struct RowBatch {
  size_t first = 0, count = 0;
  int64_t length = 0;  // tokens of each
};

// Tokens of a batch on a device, unless one row has more: products of 8192 rows reach its rate.
inline constexpr int64_t kBatchTokens = 8192;

struct StreamOptions {
  DLDataType dtype = kBf16;
  OnDevice* on_device = nullptr;  // NULL: on the CPU
  int64_t batch_tokens = 1;       // of a batch on a device, unless one row has more
  Resting resting = {};           // of the activations on a device
};

class RowStream {
 public:
  RowStream(const graph::Model&, TokenRows rows, StreamOptions);

  size_t next_block() const { return next_block_; }
  const TokenRows& rows() const { return rows_; }
  const std::vector<RowBatch>& batches() const { return batches_; }
  int64_t tokens() const;
  // Of the activations kept between blocks, wherever they rest.
  uint64_t bytes() const { return rest_->bytes(); }
  const Placement& placement() const { return rest_->placement(); }

  // Called while rows run, in their order, with a value of all of them [count, T, ...]: on the CPU
  // from any thread, on a device before its work is done.
  using Observe = std::function<void(const RowBatch&, graph::ValueId, const compute::View&)>;
  // Runs the next block, which is `program`'s, on every row. On a device it returns when all work
  // is in the queue.
  void run(const BlockProgram& program, const Observe& observe);
  // Runs the last block and hands out its logits in pieces: tokens [first, first + n) of the rows
  // of a batch, [count, n, V]. The activations stay: it may be called again. [fn: any thread, a
  // row's pieces in order]
  using TakeLogits =
      std::function<void(const RowBatch&, int64_t first, const compute::View& logits)>;
  void run_head(const BlockProgram& program, const TakeLogits& fn) const;
  // One piece of run_head.
  LiveValues head_piece(const BlockProgram& program, const RowBatch&, int64_t first,
                        int64_t count) const;

  // The activations before next_block, as bytes that load takes back, on whatever they run. Throws
  // mopt::Error (IO, DATA_LOSS when the file belongs to other rows, was changed or is cut off).
  void save(const std::filesystem::path&) const;
  void load(const std::filesystem::path&);

 private:
  Call call_for(const RowBatch&, int64_t first, int64_t count, std::vector<int64_t>& storage) const;
  void make_batches(int64_t batch_tokens);
  void upload_ids();
  void run_batch(size_t index, const BlockProgram&, const Observe&,
                 const std::vector<graph::ValueId>& keep);
  void for_each_batch(const std::function<void(size_t)>&) const;
  using TakeSaved = std::function<void(size_t batch, const LiveValues&)>;
  size_t read_saved(const std::filesystem::path&, const TakeSaved&) const;
  compute::View shape_of(const RowBatch&, graph::ValueId) const;  // without memory
  LiveValue empty_on_cpu(const RowBatch&, graph::ValueId) const;
  std::vector<uint64_t> bytes_at_rest() const;

  const graph::Model& graph_;
  TokenRows rows_;
  StreamOptions options_;
  size_t next_block_ = 0;
  std::shared_ptr<BufferPool> pool_;  // buffers come back to it from every thread
  std::vector<RowBatch> batches_;
  std::unique_ptr<Activations> rest_;  // changes while rows run, also in a const head
  // On a device: ids and positions of all rows, one after the other.
  compute::Buffer ids_, positions_;
  std::vector<int64_t> first_token_;  // of each row
};

// Tokens of one piece of the head: bounds the memory of logits.
inline constexpr int64_t kHeadTokens = 64;
inline constexpr int64_t kHeadTokensOnDevice = 2048;

}  // namespace mopt::pipeline
