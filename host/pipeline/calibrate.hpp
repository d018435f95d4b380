// The one pass over the model: rows of tokens through the blocks, the statistics that sites asked
// for, and the ranges that calibrators make of them.
#pragma once

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

class CalibrationPass {
 public:
  CalibrationPass(const Prepared&, TokenRows rows, compute::Options kernels);

  RowStream& stream() { return stream_; }
  // Runs block stream().next_block() and looks at the sites of it; without sites only forwards.
  enum class Observe { kYes, kNo };
  void run_block(Observe);
  // Ranges of the block that was run last. Throws Failure M205, M206.
  Calibrated solve(std::vector<Calibrator>&);
  double seconds_forward() const { return seconds_; }

 private:
  struct Seen {
    std::vector<float> absmax;  // per row
    std::vector<char> reached;
    Tensor sample;  // the first tokens of row 0
    int64_t not_finite_row = -1;
  };
  void look(Seen&, size_t row, const compute::View&);

  const Prepared& job_;
  compute::Options kernels_;
  DLDataType dtype_;
  RowStream stream_;
  int block_ = -1;
  std::map<graph::ValueId, Seen> seen_;
  double seconds_ = 0;
};

}  // namespace mopt::pipeline
