// What a run on a device will hold there and in its process, from shapes alone: it follows
// DeviceLoop, RowStream, BlockProgram and OnDevice of the pipeline.
#pragma once

#include "host/compute/memory_rules.hpp"
#include "host/plan/plan.hpp"

namespace mopt::plan {

// The step that computes and the ones that are read meanwhile; the one before, which is encoded,
// comes on top.
inline constexpr size_t kStepsOnDevice = 2;
// What is read passes through so many pinned slots of a ring. A small one: pinning costs a
// quarter of a millisecond per megabyte.
inline constexpr uint64_t kSlotBytes = uint64_t{8} << 20, kRingSlots = 32;
// Encoded bytes on their way to the disk.
inline constexpr uint64_t kInFlightBytes = uint64_t{384} << 20;
// Of a dequantized piece of a weight, on the device.
inline constexpr uint64_t kPieceBytes = uint64_t{64} << 20;
// Tables of angles are made for whole multiples of so many positions.
inline constexpr int64_t kAnglePositions = 1024;
// Of an upload, what is pinned, twice.
inline constexpr uint64_t kUploadBytes = uint64_t{32} << 20;
// Batches whose activations are on the device when those of the others are elsewhere: in three
// slots one comes, one is computed with, one more comes; two go.
inline constexpr int64_t kBatchesThere = 5;

// All bytes.
struct DeviceCost {
  uint64_t host = 0;         // resident in the process, at most
  uint64_t block = 0;        // of `host`, for one block: the ring, and what is made of it
  uint64_t peak = 0;         // of the device, with the activations of all rows
  uint64_t activations = 0;  // of all rows between two blocks, within `peak`
  uint64_t without = 0;      // of the device, with the activations of most rows elsewhere
  uint64_t passing = 0;      // activations of kBatchesThere batches, within `without`
  uint64_t smallest = 0;     // the same with batches of one row: no run works with less
  // Of the device while the model writes its own text, one row or all of them at once. Where the
  // first does not fit the CPU does it.
  uint64_t own_text = 0, own_text_of_all = 0;
};

struct DeviceCostRequest {
  int64_t batch_tokens = 1;  // of a batch, unless one row has more
  compute::MemoryRules rules = compute::kCudaMemory;
};

DeviceCost estimate_on_device(const PlanInput&, const Plan&, const DeviceCostRequest&);

}  // namespace mopt::plan
