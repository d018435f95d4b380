// How two tensors, or two models, differ in their values.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "host/pipeline/checkpoint.hpp"

namespace mopt::cli {

// Sums over any number of pieces.
class Difference {
 public:
  void add(std::span<const float> a, std::span<const float> b);
  bool equal() const { return equal_; }
  double max_abs() const;  // NaN when values cannot be compared
  double rel_rms() const;  // rms(a - b) / rms(a); infinite for a zero a
  std::string note() const;

 private:
  bool equal_ = true, nan_ = false;
  double max_ = 0, squares_ = 0, reference_ = 0;
};

struct DifferingTensor {
  std::string tensor;
  double max_abs = 0, rel_rms = 0;  // NaN: not comparable, the note says why
  std::string note;
};

struct ModelDifference {
  std::vector<std::string> only_a, only_b;
  std::vector<DifferingTensor> differ;  // the largest rel_rms first, incomparable ones before
  bool equal() const { return only_a.empty() && only_b.empty() && differ.empty(); }
};

// Quantized parameters are compared after dequantization, under the names of their weights.
ModelDifference compare(const pipeline::Checkpoint& a, const pipeline::Checkpoint& b);

}  // namespace mopt::cli
