#include "host/compute/linear/linear.hpp"

#include <array>

namespace mopt::compute {
namespace {

constexpr std::array kKernels{
    LinearKernel{"linear.onednn", linear_onednn_refuses, linear_onednn},
    LinearKernel{"linear.onednn_f32", linear_onednn_f32_refuses, linear_onednn_f32},
    LinearKernel{"linear.reference", accept_any<LinearProblem>, linear_reference},
};

void check(const View& weight, const View* bias) {
  require(weight.ndim == 2, "linear", "a weight [out, in]", weight);
  require(is_f32(weight) || is_bf16(weight), "linear", "a weight in f32 or bf16", weight);
  if (bias == nullptr) return;
  require(bias->ndim == 1 && bias->shape[0] == weight.shape[0] && same(bias->dtype, weight.dtype),
          "linear",
          "a bias of the " + std::to_string(weight.shape[0]) + " outputs of " + text(weight),
          *bias);
}

}  // namespace

PreparedLinear::PreparedLinear(std::unique_ptr<LinearWeight> weight, std::string_view kernel,
                               const View& shape)
    : weight_(std::move(weight)),
      kernel_(kernel),
      dtype_(shape.dtype),
      n_(shape.shape[0]),
      k_(shape.shape[1]) {}

PreparedLinear PreparedLinear::make(const View& weight, const View* bias, const Options& options) {
  check(weight, bias);
  LinearProblem problem{weight, std::nullopt};
  if (bias != nullptr) problem.bias = *bias;
  const LinearKernel& kernel = choose(std::span<const LinearKernel>(kKernels), problem, options);
  return PreparedLinear(kernel.prepare(problem), kernel.name, weight);
}

void PreparedLinear::run(const View& x, const View& y) const {
  require(x.columns() == k_ && same(x.dtype, dtype_), "linear",
          "an input of " + std::to_string(k_) + " columns in " + dtype_name(dtype_), x);
  const int64_t m = x.elements() / k_;
  require(y.columns() == n_ && same(y.dtype, dtype_) && y.elements() == m * n_, "linear",
          "an output of " + std::to_string(m) + " rows of " + std::to_string(n_) + " in " +
              dtype_name(dtype_),
          y);
  weight_->run(view_of(x.data, dtype_, {m, k_}), view_of(y.data, dtype_, {m, n_}));
}

void linear(const View& x, const View& weight, const View* bias, const View& y,
            const Options& options) {
  PreparedLinear::make(weight, bias, options).run(x, y);
}

std::vector<std::string_view> linear_kernels() {
  return names(std::span<const LinearKernel>(kKernels));
}

}  // namespace mopt::compute
