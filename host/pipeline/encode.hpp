// From the weights of one unit to what is written: prune, quantize, pack, write; with the errors
// made and the hashes of what was read.
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>

#include "host/pipeline/checkpoint.hpp"
#include "host/pipeline/journal.hpp"
#include "host/plan/plan.hpp"

namespace mopt::pipeline {

// What calibration found for a unit's items, by index into Plan::items.
struct Calibrated {
  std::map<size_t, float> input_range, kv_range;
  // A few rows of the layer's input, f32 or bf16 [rows, channels], to measure the output's error
  // on.
  std::map<size_t, const Tensor*> sample;
  std::map<graph::ValueId, Tensor> samples;  // what sample points into
};

struct Timing {
  double read = 0, encode = 0, write = 0;
};

class Encoder {
 public:
  struct Tools {
    const plan::Plan& plan;
    const Checkpoint& source;
    const Exporter& exporter;
    const Pruner* pruner;  // NULL: the plan prunes nothing
    ContainerWriter& writer;
  };
  explicit Encoder(Tools tools) : tools_(tools) {}

  // What one reading of an item's source tells.
  struct Scan {
    float absmax = 0;
    std::string sha256;
  };
  using Scans = std::vector<Scan>;  // of a unit's items, in order
  // Before a forward through the unit: a weight that is not finite is then named itself (M203), not
  // the activations that it spoils.
  Scans scan(const plan::Unit&);
  // Encodes and writes every item of the unit. Throws Failure (M205, R106, ...).
  UnitRecord encode(const plan::Unit&, const Scans&, const Calibrated&);
  const Timing& timing() const { return timing_; }

 private:
  Scan scan_item(const plan::Item&) const;
  std::map<std::string, float> group_ranges(const plan::Unit&, const Scans&) const;
  TensorRef source_tensor(const plan::Item&, Tensor& owned) const;
  void copy(const plan::Item&, class Outcomes&);
  void decode_in_pieces(const plan::Item&,
                        const std::function<void(uint64_t offset, const Tensor&)>&) const;
  void copy_with_scales(const plan::Item&, size_t index, const Calibrated&, UnitRecord&,
                        class Outcomes&);
  void quantize(const plan::Item&, size_t index, const Scan&, float group_absmax, const Calibrated&,
                UnitRecord&, class Outcomes&);
  void put(const plan::Item&, std::span<const mopt_named_tensor> parts, class Outcomes&);
  Tensor prune(const plan::Item&, const TensorRef& weight, const Scan&) const;
  void add_scales(const plan::Item&, size_t index, const Calibrated&,
                  std::vector<NamedTensor>&) const;

  Tools tools_;
  Timing timing_;
};

}  // namespace mopt::pipeline
