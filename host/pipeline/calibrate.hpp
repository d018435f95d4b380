// The one pass over the model: rows of tokens through the blocks, the statistics that sites asked
// for, and the ranges that calibrators make of them.
#pragma once

#include <future>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "host/pipeline/encode.hpp"
#include "host/pipeline/prepare.hpp"
#include "host/pipeline/stream.hpp"
#include "host/text/data.hpp"

namespace mopt::pipeline {

// Integer matrices of a safetensors file, for id files.
text::OpenIds id_opener(const Registry&);

// Rows of the embedding: every id lies below.
int64_t vocabulary_of(const Checkpoint&);

// The type that a model's forward runs in: its own, or f32 where kernels have no such type.
DLDataType compute_type(const Checkpoint&);

// The rows that the data has, where headers tell: all of it is files of ids.
std::optional<int64_t> known_rows(const Calibration&, const Registry&);
// W103 when they are fewer than the recipe asks for.
std::optional<Diagnostic> few_rows(const Calibration&, int64_t rows);

// Rows of id files and texts; not "self". Throws Failure.
text::Rows calibration_rows(const Calibration&, const Checkpoint&);

// What the sites of one block saw. On a device it fills when `ready` has passed.
struct Observed {
  struct Seen {
    std::vector<float> absmax;  // per row on the CPU, per part of a range on a device
    bool reached = false;
    Tensor sample;  // the first tokens of row 0, where the block ran
    // On a device: the parts of the range there, and their copy here.
    compute::Buffer parts, copied;
    bool found = false;  // the forward itself raises the parts
  };
  int block = -1;
  std::map<graph::ValueId, Seen> seen;
  compute::EventPtr begun, ready;
};

class CalibrationPass {
 public:
  // On a device: what runs together, and where it rests between two blocks.
  struct Batches {
    int64_t tokens = 1;
    Resting resting = {};
  };
  CalibrationPass(const Prepared&, TokenRows rows, ForwardOptions);
  CalibrationPass(const Prepared&, TokenRows rows, ForwardOptions, Batches);

  RowStream& stream() { return stream_; }
  const RowStream& stream() const { return stream_; }
  // Runs block stream().next_block() and looks at the sites of it; without sites only forwards. On
  // a device it returns when all work is in the queue; `param` gives the block's parameters there.
  enum class Observe { kYes, kNo };
  using Param = std::function<compute::View(const std::string&)>;
  Observed run_block(Observe, Param param = {});
  // Ranges of what was observed. Throws Failure M205, M206.
  Calibrated solve(Observed, std::vector<Calibrator>&);
  // On a device: lets a thread choose the kernels of the next block that has attention, which takes
  // the time in which the first weights are read, and of its layers' errors. What it cannot do,
  // get() throws; the work itself will, too.
  std::future<void> foresee() const;
  double seconds_forward() const { return seconds_; }

 private:
  void foresee_errors(int block, int64_t tokens, const compute::Options&) const;
  void look(Observed::Seen&, const RowBatch&, const compute::View&);
  void look_on_device(Observed::Seen&, const RowBatch&, const compute::View&);
  void begin_looking(Observed&, ForwardOptions&);
  void fetch(Observed&);

  const Prepared& job_;
  ForwardOptions options_;
  RowStream stream_;
  double seconds_ = 0;
};

}  // namespace mopt::pipeline
