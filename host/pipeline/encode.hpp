// From the weights of one unit to what is written: prune, quantize, pack, write; with the errors
// made and the hashes of what was read.
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>

#include "host/pipeline/checkpoint.hpp"
#include "host/pipeline/journal.hpp"
#include "host/pipeline/timeline.hpp"
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

// Where the bytes of a unit's tensors go, in order of offset for each.
class UnitSink {
 public:
  virtual ~UnitSink() = default;
  // `keep` owns the bytes where the sink may take them later.
  virtual void write(const std::string& name, uint64_t offset, std::span<const std::byte> bytes,
                     std::shared_ptr<void> keep) = 0;
  uint64_t written() const { return written_; }

 protected:
  uint64_t written_ = 0;
};

// What one reading of an item's source tells.
struct Scan {
  float absmax = 0;
  std::string sha256;
};
using Scans = std::vector<Scan>;  // of a unit's items, in order

// A quantized weight on its way out, in CPU memory.
struct MadeParts {
  std::vector<NamedTensor> parts;
  double weight_error = 0;
  std::optional<double> output_error;
};

class Encoder {
 public:
  struct Tools {
    const plan::Plan& plan;
    const Checkpoint& source;
    const Exporter& exporter;
    const Pruner* pruner;     // NULL: the plan prunes nothing
    ContainerWriter& writer;  // what encode() writes with
    Timeline* timeline = nullptr;
  };
  explicit Encoder(Tools tools) : tools_(tools) {}

  // Before a forward through the unit: a weight that is not finite is then named itself (M203), not
  // the activations that it spoils.
  Scans scan(const plan::Unit&);
  // Encodes and writes every item of the unit. Throws Failure (M205, R106, ...).
  UnitRecord encode(const plan::Unit&, const Scans&, const Calibrated&);

  // The steps of encode, for who has the weights elsewhere. `item` is an index into Plan::items.
  //
  // The largest weight of each group whose members share a format.
  std::map<std::string, float> group_ranges(const plan::Unit&, const Scans&) const;
  // A weight on the CPU that is quantized or pruned, from bytes that stay alive during the call.
  void quantize(size_t item, const TensorRef& weight, const Scan&, float group_absmax,
                const Calibrated&, UnitRecord&, UnitSink&) const;
  // The same in two steps, from what the format made: its scales of inputs, K and V are added, and
  // all of it is checked; then it is written.
  void finish_parts(size_t item, const Calibrated&, std::vector<NamedTensor>& parts) const;
  void store(size_t item, MadeParts, const Scan&, UnitRecord&, UnitSink&) const;
  // A copied weight on the CPU, kept by `keep`, with the scales that stand beside it.
  void copy_with_scales(size_t item, const TensorRef& weight, std::shared_ptr<void> keep,
                        const Calibrated&, UnitRecord&, UnitSink&) const;
  // What the ledger says of it, without the hashes of outputs.
  LedgerEntry entry(size_t item, const Scan&) const;

 private:
  Scan scan_item(const plan::Item&) const;
  TensorRef source_tensor(const plan::Item&, Tensor& owned) const;
  void copy(const plan::Item&, UnitSink&) const;
  void decode_in_pieces(const plan::Item&,
                        const std::function<void(uint64_t offset, const Tensor&)>&) const;
  void put(const plan::Item&, std::vector<NamedTensor> parts, std::shared_ptr<void> keep,
           UnitSink&) const;
  Tensor prune(const plan::Item&, const TensorRef& weight, const Scan&) const;
  void add_scales(const plan::Item&, size_t index, const Calibrated&,
                  std::vector<NamedTensor>&) const;

  Tools tools_;
};

// Whether an item's values are looked at: for their range, and for one that is no number. A copied
// tensor that no adapter knows may hold a mask of infinities.
bool needs_range(const plan::Item&);
// Throws M203 with the place of element `index`.
[[noreturn]] void not_finite(const plan::Item&, int64_t index);
// The input's scale among a layer's parts.
std::optional<float> stored_input_scale(std::span<const NamedTensor> parts);
// Fills the hashes of outputs, by name, and what the unit as a whole hashes to: the hash of these.
void seal(UnitRecord&, const std::function<std::string(const std::string& tensor)>& hash_of);

}  // namespace mopt::pipeline
