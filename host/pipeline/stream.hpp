// Rows of tokens on their way through the blocks of a model: all rows through one block, then the
// next. Memory holds the activations between two blocks, and one block's weights.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "host/pipeline/forward.hpp"

namespace mopt::pipeline {

using TokenRows = std::vector<std::vector<int32_t>>;

class RowStream {
 public:
  RowStream(const graph::Model&, TokenRows rows, DLDataType dtype);

  size_t next_block() const { return next_block_; }
  const TokenRows& rows() const { return rows_; }
  int64_t tokens() const;
  // Memory of the activations kept between blocks.
  uint64_t bytes() const;

  // Called while a row runs, from its thread; a row's calls come in order.
  using Observe = std::function<void(size_t row, graph::ValueId, const compute::View&)>;
  // Runs the next block, which is `program`'s, on every row.
  void run(const BlockProgram& program, const Observe& observe);
  // Runs the last block and hands out its logits in pieces: rows [first, first + n) of tokens as
  // [1, n, V]. The activations stay: it may be called again. [fn: any thread, one row in order]
  using TakeLogits = std::function<void(size_t row, int64_t first, const compute::View& logits)>;
  void run_head(const BlockProgram& program, const TakeLogits& fn) const;
  // One piece of run_head.
  LiveValues head_piece(const BlockProgram& program, size_t row, int64_t first,
                        int64_t count) const;

  // The activations before next_block, as bytes that load takes back. Throws mopt::Error (IO,
  // DATA_LOSS when the file belongs to other rows, was changed or is cut off).
  void save(const std::filesystem::path&) const;
  void load(const std::filesystem::path&);

 private:
  Call call_for(size_t row, int64_t first, int64_t count, std::vector<int64_t>& storage) const;

  const graph::Model& graph_;
  TokenRows rows_;
  DLDataType dtype_;
  size_t next_block_ = 0;
  std::shared_ptr<BufferPool> pool_;  // buffers come back to it from every thread
  std::vector<LiveValues> live_;      // per row
};

// Tokens of one piece of the head: bounds the memory of logits.
inline constexpr int64_t kHeadTokens = 64;

}  // namespace mopt::pipeline
