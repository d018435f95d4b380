// The block loop on a device: while block i computes, i+1 is read and copied, i-1 is encoded and
// written.
#pragma once

#include "host/pipeline/calibrate.hpp"
#include "host/pipeline/device_weights.hpp"
#include "host/pipeline/errors_on_device.hpp"
#include "host/pipeline/journal.hpp"
#include "host/pipeline/write_behind.hpp"

#include <condition_variable>
#include <deque>
#include <future>
#include <thread>

namespace mopt::pipeline {

// The queues of a run; each works while the others do.
struct DeviceQueues {
  OnDevice copies, compute, encode, aside;
  // Activations on their way from and to where they rest.
  std::unique_ptr<compute::Queue> activations_in, activations_out;
  DeviceQueues(compute::Device&, Services&);
};

// Of a device that failed in the loop: "; the first block that is not finished is ..., noticed at
// ...", as far as that is known.
std::string where_it_failed(const Error&, const plan::Plan&, const Journal&);

class DeviceLoop {
 public:
  struct Tools {
    Prepared& job;
    DeviceQueues& queues;
    ContainerWriter& writer;
    Journal& journal;
    CalibrationPass* pass;  // NULL: no data is needed
    int threads;
    Timeline& timeline;
    // After each unit that is on the disk, from the thread that called run.
    std::function<void(const plan::Unit&)> done;
    // Whether to stop, or to save the activations, once everything so far is on the disk.
    std::function<bool()> wants_pause;
    std::function<void()> pause;  // may throw
  };
  explicit DeviceLoop(Tools);
  // Every unit that the journal lacks. Throws Failure and mopt::Error.
  void run();

 private:
  // A step whose forward is under way.
  struct Forwarded {
    std::unique_ptr<LoadedStep> loaded;
    Observed observed;
  };
  // Encodes units one after the other and writes them behind.
  struct Lane {
    OnDevice& on;
    WriteBehind write;
    DeviceClock clock;
  };
  // Writes units that are only copied, embeddings and heads, beside the others: one of a gigabyte
  // takes a thread half a second to hash.
  class Aside {
   public:
    explicit Aside(DeviceLoop&);
    ~Aside();
    void push(const plan::Unit&);
    void drain();  // throws what failed
    void rethrow();

   private:
    void serve();
    DeviceLoop& loop_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<const plan::Unit*> queue_;
    bool busy_ = false, ended_ = false;
    std::exception_ptr failure_;
    std::thread thread_;
  };
  struct Made;  // an item on its way from the device
  std::vector<DeviceStep> steps() const;
  void run_steps();
  Observed forward(LoadedStep&);
  std::future<Observed> begin_forward(LoadedStep&);
  void finish(Forwarded);
  void drain();
  Calibrated solve(Forwarded&);
  Made make(Lane&, size_t item, const WeightOnDevice&, float range, const Calibrated&);
  void encode_on_device(Lane&, Made&, const WeightOnDevice&, float range, const Calibrated&);
  // `loaded`: the weights on the device; NULL: what is only copied comes from the files.
  void encode(Lane&, const plan::Unit&, const LoadedStep* loaded, const Calibrated&);
  void store(Made&, const Scan&, float range, const Calibrated&, UnitRecord&, UnitSink&);
  void write_copy(Lane&, const plan::Unit&, const WeightOnDevice&, UnitSink&);
  void await_device(Lane&, const plan::Unit&);
  void commit(Lane&, UnitRecord, const plan::Unit&);
  void tell();
  WriteSink sink();

  Tools tools_;
  Encoder encoder_;
  // Before what writes: slots on their way through it go back to the ring of this one.
  DeviceWeights weights_;
  std::mutex sync_mutex_;  // held for as long as the disk takes
  std::mutex mutex_;       // of the journal and of what was committed
  std::vector<const plan::Unit*> committed_;
  DeviceClock computing_;
  Lane lane_, lane_aside_;
  Aside aside_;
};

}  // namespace mopt::pipeline
