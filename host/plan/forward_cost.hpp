// What a forward over rows of tokens holds, from the graph alone: it follows RowStream,
// BlockProgram and BufferPool of the pipeline.
#pragma once

#include <vector>

#include "host/graph/graph.hpp"
#include "host/loader/container.hpp"

namespace mopt::plan {

struct ForwardShape {
  int64_t rows = 0, tokens = 0;  // sequences, and tokens of each
  int threads = 1;
  DLDataType dtype = kBf16;  // of activations
};

// How far a forward goes: through `last_block` up to these values of it; empty: all of it.
struct ForwardEnd {
  size_t last_block = 0;
  std::vector<graph::ValueId> values;
};

struct ForwardMemory {
  uint64_t live = 0;  // activations before or after the block, the larger
  uint64_t held = 0;  // once the block has run: live, buffers of rows in work, threads' own memory;
                      // it is kept until the forward ends
};
// Of each block up to the last.
std::vector<ForwardMemory> forward_memory(const graph::Model&, const ForwardShape&,
                                          const ForwardEnd&);

// While the block's weights are brought into the kernels' layout, and once they are, bytes.
struct BlockWeights {
  uint64_t prepared = 0, peak = 0;
};
BlockWeights block_weights(const graph::Model&, const Container& source, size_t block,
                           DLDataType dtype, const ForwardEnd&);

// Keys and values of one token in all layers, bytes.
uint64_t cache_bytes_per_token(const graph::Model&, DLDataType dtype);

}  // namespace mopt::plan
