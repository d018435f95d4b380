// The weights of one step of a run on a device: read ahead through a ring of pinned memory, hashed
// and searched on the way, copied to the device.
#pragma once

#include <atomic>
#include <future>
#include <map>
#include <set>

#include "host/pipeline/encode.hpp"
#include "host/pipeline/on_device.hpp"
#include "host/pipeline/prepare.hpp"
#include "host/pipeline/read_ahead.hpp"

namespace mopt::pipeline {

// What is done with one block or unit, in the order of the run.
struct DeviceStep {
  int block = -1;                    // that is forwarded; -1: none
  const plan::Unit* unit = nullptr;  // that is encoded; NULL: only forwarded
  bool copied = false;               // every tensor of it is, or is dropped
};

struct WeightOnDevice {
  const plan::Item* item = nullptr;  // NULL: it belongs to another unit
  compute::Buffer stored, converted;
  compute::View view;      // as the source presents it
  compute::View computed;  // in the type that the model computes in
  Scan scan;
};

// What a read delivered. Its slots come back when the device has taken them: should it fail, it
// never does, and the queue of it says so. Throws what failed.
Delivered await_read(std::future<Delivered>&, compute::Queue&);

class LoadedStep {
 public:
  LoadedStep() = default;
  LoadedStep(const LoadedStep&) = delete;
  LoadedStep& operator=(const LoadedStep&) = delete;
  // Only a failure leaves reads behind: they are cancelled before its memory goes.
  ~LoadedStep();
  const DeviceStep& step() const { return step_; }
  // Of the step, or of the block that is only forwarded.
  std::string_view unit_name() const { return unit_name_; }
  // Returns when everything is read; throws what failed. The device has it after ready().
  void wait();
  const compute::EventPtr& ready() const { return ready_; }
  // By the name in the source; NULL: it was not loaded.
  const WeightOnDevice* find(const std::string& source) const;

 private:
  friend class DeviceWeights;
  DeviceStep step_;
  std::string_view unit_name_;
  OnDevice* copies_ = nullptr;
  ReadAhead* reader_ = nullptr;
  std::map<std::string, WeightOnDevice> weights_;
  std::vector<std::pair<std::string, std::future<Delivered>>> reads_;  // by source
  compute::EventPtr ready_;
};

class DeviceWeights {
 public:
  // Keeps references. `dtype`: what the model computes in.
  DeviceWeights(const Prepared&, OnDevice& copies, DLDataType dtype, Timeline&);
  ~DeviceWeights();

  // Begins to read what the step needs on the device: the parameters of its block, and the weights
  // of its unit that are more than copied.
  std::unique_ptr<LoadedStep> load(const DeviceStep&);
  // Passes a tensor of the unit on as it is, from a thread of its own; what the ledger needs comes
  // back.
  using Take = std::function<void(uint64_t offset, std::shared_ptr<Slot>)>;
  std::future<Delivered> pass_on(const plan::Unit&, const plan::Item&, Take take);
  void cancel() { reader_->cancel(); }

 private:
  void load(LoadedStep&, const std::string& source, const plan::Item* item);
  const plan::Unit* unit_of(int block) const;
  void copy(std::string_view unit, std::byte* to, Slot&&);

  const Prepared& job_;
  OnDevice& copies_;
  const DLDataType dtype_;
  Timeline& timeline_;
  std::atomic<double> copied_ = 0;  // when the last copy to the device had passed
  compute::Buffer memory_;
  std::optional<SlotRing> ring_;
  std::optional<ReadAhead> reader_;
};

}  // namespace mopt::pipeline
