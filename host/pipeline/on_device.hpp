// What the blocks of a model need beside their weights when they run on a device.
#pragma once

#include <list>
#include <memory>

#include "host/compute/device.hpp"
#include "host/compute/rope/rope.hpp"
#include "host/loader/components.hpp"

namespace mopt::pipeline {

// Cosines and sines of positions 0 to S-1 in device memory, f32 [S, half].
struct AnglesOnDevice {
  compute::Buffer memory;
  compute::View cos, sin;
};

// One queue of a device, the context in which plugins work on it, and tables that all blocks share.
class OnDevice {
 public:
  OnDevice(std::unique_ptr<compute::Queue>, Services&);

  compute::Queue& queue() const { return *queue_; }
  compute::Device& device() const { return queue_->device(); }
  const mopt_exec* exec() const { return exec_; }
  // Whether a format has kernels for this device.
  bool serves(const Quantizer& q) const { return q.serves(exec_->device.device_type); }
  // `view` as plugins see it.
  TensorRef tensor(const compute::View&) const;

  // Of a sequence of `length` tokens, in the precision of `dtype`; kept.
  const AnglesOnDevice& angles(const compute::RopeTable&, int64_t length, DLDataType dtype);

  // Device memory with these bytes, copied through pinned memory. Returns when they are there.
  compute::Buffer upload(const void* data, int64_t bytes);

 private:
  struct Known {
    compute::RopeAttrs attrs;
    int64_t length;
    DLDataType dtype;
    AnglesOnDevice angles;
  };
  std::unique_ptr<compute::Queue> queue_;
  const mopt_exec* exec_;
  std::list<Known> known_;
};

}  // namespace mopt::pipeline
