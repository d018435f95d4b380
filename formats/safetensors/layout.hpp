// Where every tensor of a write plan will stand: files, headers, offsets, the index. Pure
// arithmetic; a prediction counts what the files' own statements write.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "header.hpp"
#include "mopt/format.h"

namespace mopt::safetensors {

struct Slot {
  std::string_view name;  // of the plan
  uint32_t shard;
  uint64_t offset;  // in the file, bytes
  uint64_t nbytes;
};

struct Shard {
  std::string final_name;    // "model.safetensors", "model-00001-of-00003.safetensors"
  std::string partial_name;  // "weights-00001-of-00003.partial": nothing loads it
  std::string head;          // header length and header, a multiple of 8 bytes
  uint64_t size;             // of the whole file, bytes
};

struct Layout {
  std::vector<Slot> slots;  // in the plan's order
  std::vector<Shard> shards;
  std::string index;  // text of model.safetensors.index.json; empty for a single file
  uint64_t bytes() const;
};

// Shards are filled greedily in the plan's order; a new one is begun before the data exceeds
// plan.shard_bytes or the header max_header. Inside a shard wider elements come first, which aligns
// every tensor to its element. The names in the result borrow from the plan. Throws
// MOPT_INVALID_ARGUMENT for a tensor that alone exceeds max_header.
Layout make_layout(const mopt_write_plan& plan, uint64_t max_header = kMaxHeader);

// make_layout(plan, max_header).bytes(), without its texts.
uint64_t predict_bytes(const mopt_write_plan& plan, uint64_t max_header = kMaxHeader);

}  // namespace mopt::safetensors
