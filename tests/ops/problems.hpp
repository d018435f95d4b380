// The problems of each op, and what the files that make them share.
#pragma once

#include <array>

#include "tests/ops/harness.hpp"

namespace mopt::ops {

void activation_problems(const Problems&, const Emit&);
void activation_layer(const Emit&);
void cast_problems(const Problems&, const Emit&);
void cast_layer(const Emit&);
void elementwise_problems(const Problems&, const Emit&);
void elementwise_layer(const Emit&);
void embedding_problems(const Problems&, const Emit&);
void embedding_layer(const Emit&);
void absmax_problems(const Problems&, const Emit&);
void absmax_layer(const Emit&);
void range_problems(const Problems&, const Emit&);
void range_layer(const Emit&);
void squared_error_problems(const Problems&, const Emit&);
void squared_error_layer(const Emit&);
void rms_norm_problems(const Problems&, const Emit&);
void rms_norm_layer(const Emit&);
void rope_problems(const Problems&, const Emit&);
void rope_layer(const Emit&);
void divergence_problems(const Problems&, const Emit&);
void divergence_layer(const Emit&);
void nll_problems(const Problems&, const Emit&);
void nll_layer(const Emit&);
void gate_problems(const Problems&, const Emit&);
void gate_layer(const Emit&);
void kv_append_problems(const Problems&, const Emit&);
void kv_append_layer(const Emit&);
void linear_problems(const Problems&, const Emit&);
void linear_layer(const Emit&);
void codes_problems(const Problems&, const Emit&);  // of linear
void codes_layer(const Emit&);
void attention_problems(const Problems&, const Emit&);
void attention_layer(const Emit&);

// The 8B shape: hidden, feed-forward, vocabulary, heads, kv heads, head size; tokens of a batch and
// of a sequence.
inline constexpr int64_t kC = 4096, kF = 14336, kV = 128256, kH = 32, kK = 8, kD = 128;
inline constexpr int64_t kBatchTokens = 8192, kT = 512;
// The 8B shape's products.
struct LayerProduct {
  const char* name;
  int64_t m, n, k;
  std::string label(const char* type) const {
    return std::string(name) + " " + type + " " + shape_text(std::array{m, n, k});
  }
  double flops() const {
    return 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  }
};
inline constexpr std::array kLayerProducts{
    LayerProduct{"q", kBatchTokens, kC, kC}, LayerProduct{"k", kBatchTokens, kK* kD, kC},
    LayerProduct{"up", kBatchTokens, kF, kC}, LayerProduct{"down", kBatchTokens, kC, kF},
    LayerProduct{"head", kT, kV, kC}};
// The 70B shape: hidden and feed-forward; and tokens enough that starting a kernel does not count,
// nor what a cache holds.
inline constexpr int64_t kWideC = 8192, kWideF = 28672, kManyTokens = 32768;

// Columns that vectors, packs and tiles do not divide, and the widest there are.
std::vector<int64_t> awkward_columns(Extent);

inline Operand in(HostTensor tensor, int64_t shift = 0) {
  return {Role::kIn, std::move(tensor), shift};
}
inline Operand out(DLDataType dtype, std::vector<int64_t> shape, int64_t shift = 0) {
  return {Role::kOut, HostTensor(dtype, std::move(shape)), shift};
}
inline Operand in_out(HostTensor tensor, int64_t shift = 0) {
  return {Role::kInOut, std::move(tensor), shift};
}

// "silu bf16 [3, 17] noise +1"
struct Label {
  std::string_view what;
  DLDataType dtype;
  std::vector<int64_t> shape;
  Content content = Content::kNoise;
  int64_t shift = 0;
  std::string text() const;
};

// Parts of a range, at the beginning of which none was seen.
inline constexpr DLDataType kWords = {kDLUInt, 32, 1};
inline Operand range_parts() {
  return in_out(zeros(kWords, {compute::kRangeParts}));
}
// What the parts say, whichever of them hold it.
std::string judge_range(const HostTensor& got, const HostTensor& expected);

void set_tolerance(Case&, std::string_view op, DLDataType, float scale = 1);
// Bytes of all operands.
double all_bytes(const Case&);
// A case for timing: the label, and the bytes of all operands.
void emit_layer(const Emit&, Case, const std::string& label, double flops = 0);

}  // namespace mopt::ops
