// linear: y[M,N] = x[M,K] weight[N,K]^T (+ bias[N]), with the weight prepared once for many calls.
#pragma once

#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "host/compute/dispatch.hpp"
#include "host/compute/view.hpp"

namespace mopt::compute {

struct LinearProblem {
  View weight;               // [N, K], f32 or bf16
  std::optional<View> bias;  // [N], the weight's type
};

// A weight in one kernel's layout. Owns all it needs.
class LinearWeight {
 public:
  virtual ~LinearWeight() = default;
  virtual void run(const View& x, const View& y) const = 0;
  virtual int64_t bytes() const = 0;
};

struct LinearKernel {
  std::string_view name;
  std::string_view (*refuse)(const LinearProblem&);
  std::unique_ptr<LinearWeight> (*prepare)(const LinearProblem&);
};

// Products of bf16 are accumulated in fp32, the bias is added in fp32, and the sum is rounded once.
// A row of y never depends on the other rows nor on the number of threads. It does not depend on
// the number of rows either where oneDNN has blocked products (AVX-512); on other CPUs oneDNN
// chooses the order of a sum by the number of rows in a tile.
class PreparedLinear {
 public:
  // Copies what it needs: weight and bias may go away afterwards.
  static PreparedLinear make(const View& weight, const View* bias = nullptr,
                             const Options& options = {});
  // x [..., K], y [..., N] of the weight's type; any number of threads at once.
  void run(const View& x, const View& y) const;
  int64_t prepared_bytes() const { return weight_->bytes(); }
  std::string_view kernel() const { return kernel_; }

 private:
  PreparedLinear(std::unique_ptr<LinearWeight> weight, std::string_view kernel, const View& shape);
  std::unique_ptr<LinearWeight> weight_;
  std::string_view kernel_;
  DLDataType dtype_;
  int64_t n_, k_;
};

// A product on a device, which takes weights as they are; or of codes.
struct LinearCall {
  View x, weight;            // [M, K], [N, K]; one type: f32, bf16 or, as codes, E4M3
  std::optional<View> bias;  // [N] of y's type
  View y;                    // [M, N] of x's type; of codes f32 or bf16
  // Of codes and of them only: f32, one element or one for each row of the operand.
  std::optional<View> x_scale = {}, weight_scale = {};
};

// For work that is used once: prepares and runs.
void linear(const View& x, const View& weight, const View* bias, const View& y,
            const Options& options = {});

// An operand of codes: E4M3 [rows, K], and what they are multiplied by: f32, one element or one for
// each row.
struct Codes {
  View codes, scales;
};
// y = x weight^T of two operands of codes (+ bias): sums in fp32, times both scales in fp32, plus
// bias in fp32, one rounding. x codes [..., K], y [..., N] f32 or bf16, bias [N] of y's type. On
// the CPU the reference alone does it.
void linear(const Codes& x, const Codes& weight, const View* bias, const View& y,
            const Options& options = {});

// Products of codes as far as they are known before any is run.
struct CodesProblem {
  enum class Scales { kOne, kRows };
  int64_t n = 0, k = 0;  // of the weight [N, K]
  Scales x_scales = Scales::kOne, weight_scales = Scales::kOne;
  bool bias = false;
  DLDataType y = kBf16;
  int64_t m = 16;  // rows of x: these few stand for any number
};
// Why the device of options.queue has no fast products of such codes (by tensor cores), operands
// aligned to 256 bytes; empty: it has. A kernel that is asked for counts alone.
std::string_view linear_codes_refused(const CodesProblem&, const Options& options);

std::vector<std::string_view> linear_kernels();

// The rows of the table.
std::unique_ptr<LinearWeight> linear_reference(const LinearProblem&);
std::string_view linear_onednn_refuses(const LinearProblem&);
std::unique_ptr<LinearWeight> linear_onednn(const LinearProblem&);
std::string_view linear_onednn_f32_refuses(const LinearProblem&);
std::unique_ptr<LinearWeight> linear_onednn_f32(const LinearProblem&);
// Of codes; sums in fp64, which holds them exactly.
void linear_codes_reference(const LinearCall&);

}  // namespace mopt::compute
