// The block loop on a device: while block i computes, i+1 is read and copied, i-1 is encoded and
// written.
#pragma once

#include "host/pipeline/calibrate.hpp"
#include "host/pipeline/device_weights.hpp"
#include "host/pipeline/errors_on_device.hpp"
#include "host/pipeline/journal.hpp"
#include "host/pipeline/write_behind.hpp"

namespace mopt::pipeline {

// The queues of a run; each works while the others do.
struct DeviceQueues {
  OnDevice copies, compute, encode;
  DeviceQueues(compute::Device&, Services&);
};

class DeviceLoop {
 public:
  struct Tools {
    Prepared& job;
    DeviceQueues& queues;
    ContainerWriter& writer;
    Journal& journal;
    CalibrationPass* pass;  // NULL: no data is needed
    compute::Options kernels;
    int threads;
    // After each unit that is on the disk, from the thread that called run.
    std::function<void(const plan::Unit&)> done;
    // Whether to stop, or to save the activations, once everything so far is on the disk.
    std::function<bool()> wants_pause;
    std::function<void()> pause;  // may throw
  };
  explicit DeviceLoop(Tools);
  // Every unit that the journal lacks. Throws Failure and mopt::Error.
  void run();

  struct Seconds {
    double waited_read = 0, waited_device = 0, solve = 0, encode = 0;
    ReadTiming read;
    WriteTiming write;
  };
  Seconds seconds() const;

 private:
  // A step whose forward is under way.
  struct Forwarded {
    std::unique_ptr<LoadedStep> loaded;
    Observed observed;
  };
  struct Made;  // an item on its way from the device
  std::vector<DeviceStep> steps() const;
  Observed forward(LoadedStep&);
  void finish(Forwarded);
  Calibrated solve(Forwarded&);
  Made make(size_t item, const WeightOnDevice&, float range, const Calibrated&);
  void encode_on_device(Made&, const WeightOnDevice&, float range, const Calibrated&);
  void encode(LoadedStep&, const Calibrated&);
  void write_copy(const WeightOnDevice&, UnitSink&);
  void commit(UnitRecord, const plan::Unit&);
  void tell();

  Tools tools_;
  Encoder encoder_;
  // Before what writes: slots on their way through it go back to the ring of this one.
  DeviceWeights weights_;
  std::optional<WriteBehind> write_;
  std::mutex mutex_;
  std::vector<const plan::Unit*> committed_;
  Seconds seconds_;
};

}  // namespace mopt::pipeline
