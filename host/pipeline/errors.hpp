// How far a quantized layer is from the original: relative errors of its weight and of its output.
#pragma once

#include <span>

#include "host/loader/components.hpp"
#include "host/plan/plan.hpp"

namespace mopt::pipeline {

struct QuantizedWeight {
  const plan::Plan& plan;
  const plan::Item& item;
  const mopt_exec* exec;
  std::span<const NamedTensor> parts;
};

// Rows [begin, end) of the weight that the parts stand for, f32 or bf16, where the parts are.
void dequantize_rows(const QuantizedWeight&, int64_t begin, int64_t end, DLTensor* out);
// Rows whose elements fill `bytes`, in whole tiles of the format, at least one.
int64_t rows_within(const QuantizedWeight&, uint64_t bytes, DLDataType dtype);

// ||Wq - W|| / ||W||, dequantized in pieces of a few rows. 0 for a zero weight that stays zero.
double weight_error(const QuantizedWeight&, const DLTensor& weight);

// ||Wq xq - W x|| / ||W x|| over the rows x [n, in], f32 or bf16; xq is x as an engine
// quantizes it.
double output_error(const QuantizedWeight&, const DLTensor& weight, const DLTensor& x,
                    std::optional<float> input_scale);

}  // namespace mopt::pipeline
