// Where the values of each batch of rows rest between two blocks: where they are computed, and on a
// device with too little memory for all of them in pinned memory of the host, then in a file. What
// rests elsewhere passes through a few slots of device memory, beside the work on other batches.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host/pipeline/activation_disk.hpp"
#include "host/pipeline/forward.hpp"

namespace mopt::pipeline {

enum class Tier { kDevice, kPinned, kDisk };

// What activations may take up, bytes. By default all of them rest on the device.
struct Resting {
  uint64_t device = UINT64_MAX, pinned = UINT64_MAX;
  std::filesystem::path file = {};  // of what is left then; empty: it is pinned all the same
  uint64_t keep_free = 0;           // of the file's disk
  compute::Queue* in = nullptr;     // to the device and back; needed when not all rests there
  compute::Queue* out = nullptr;
  uint64_t piece_bytes = uint64_t{8} << 20;  // of what is read or written at a time
};

// The first batches rest on the device while they fit, the next ones are pinned, the others are on
// the disk. Whatever is not on the device takes some of it, and of pinned memory, for its passage.
struct Placement {
  std::vector<Tier> tiers;  // per batch
  struct Share {
    size_t batches = 0;
    uint64_t bytes = 0;
  };
  Share device, pinned, disk;
};
Placement place(const std::vector<uint64_t>& batches, const Resting&);
// "48 of 64 batches on the device (96 MiB), 10 in pinned memory (20 MiB), 6 on disk (12 MiB)".
std::string text(const Placement&);

class Activations {
 public:
  // Keeps the pointers. `on`: NULL on the CPU, where values rest as they are. `bytes`: of each
  // batch, the most at_rest() of what it holds between two blocks. Throws Error MOPT_OUT_OF_MEMORY,
  // and what ScratchFile does.
  Activations(OnDevice* on, Resting, const std::vector<uint64_t>& bytes);
  // Waits for what is under way.
  ~Activations();
  Activations(const Activations&) = delete;
  Activations& operator=(const Activations&) = delete;

  static uint64_t at_rest(uint64_t bytes);  // of one value
  const Placement& placement() const { return placement_; }
  uint64_t bytes() const;  // of all values

  // A pass over the batches, in their order: what rests elsewhere is brought in early.
  void begin();
  // The values of a batch, where it runs: work that its queue gets from here on finds them there,
  // until another batch is taken. On a device from one thread, on the CPU from any.
  LiveValues take(size_t batch);
  // In place of the values that were taken last: made of them, or by work of the queue so far.
  void put(size_t batch, LiveValues next);

  // Copies on the CPU, and values there that the batch has from now on. They wait for the device.
  LiveValues read(size_t batch);
  void write(size_t batch, const LiveValues&);

 private:
  // Values one behind the other: of a batch at home and in a slot.
  struct Place {
    graph::ValueId value;
    compute::View view;  // without memory
    uint64_t offset;
  };
  struct Layout {
    std::vector<Place> places;
    uint64_t bytes = 0;
  };
  struct Home {
    uint64_t capacity = 0;
    Layout layout;
    compute::Buffer pinned;
    size_t region = 0;         // of the file
    compute::EventPtr filled;  // pinned memory is
  };
  struct Slot {
    compute::Buffer memory;
    compute::EventPtr free;
  };
  struct Passing {
    size_t batch;
    Slot slot;
    compute::EventPtr ready;  // NULL: it comes from the disk
  };
  struct Leaving {
    compute::EventPtr gone;
    LiveValues values;
  };
  bool passes(size_t batch) const {
    return on_ != nullptr && placement_.tiers[batch] != Tier::kDevice;
  }
  void make_homes(const std::vector<uint64_t>& bytes);
  void pin(size_t batch, const std::vector<uint64_t>& bytes);
  static void lay_out(Home&, const LiveValues&);
  void bring_ahead();
  void bring(size_t batch);
  void arrive(Passing&);
  void drop_taken();
  void drop_brought();
  void send_home(const Home&, Tier, const LiveValues&);
  LiveValues values_in(const Layout&, const compute::Buffer&) const;
  compute::Buffer staging(const Home&) const;

  OnDevice* on_;
  Resting resting_;
  Placement placement_;
  std::vector<LiveValues> live_;  // of batches that rest where they run
  std::vector<Home> homes_;       // of the others
  std::unique_ptr<ActivationDisk> disk_;
  size_t first_passing_ = 0, next_ = 0;  // batches; next_ is brought next
  std::deque<Slot> free_;
  std::deque<Passing> brought_;
  std::optional<Passing> taken_;
  std::deque<Leaving> leaving_;
};

}  // namespace mopt::pipeline
