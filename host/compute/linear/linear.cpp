#include "host/compute/linear/linear.hpp"

#include <algorithm>
#include <array>

#include "host/compute/device_kernels.hpp"

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

struct WeightShape {
  DLDataType dtype;
  int64_t n, k;
};

void check_rows(const WeightShape& w, const View& x, const View& y) {
  require(x.columns() == w.k && same(x.dtype, w.dtype), "linear",
          "an input of " + std::to_string(w.k) + " columns in " + dtype_name(w.dtype), x);
  const int64_t m = x.elements() / w.k;
  require(y.columns() == w.n && same(y.dtype, w.dtype) && y.elements() == m * w.n, "linear",
          "an output of " + std::to_string(m) + " rows of " + std::to_string(w.n) + " in " +
              dtype_name(w.dtype),
          y);
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
  check_rows({dtype_, n_, k_}, x, y);
  const int64_t m = x.elements() / k_;
  weight_->run(view_of(x.data, dtype_, {m, k_}), view_of(y.data, dtype_, {m, n_}));
}

void linear(const View& x, const View& weight, const View* bias, const View& y,
            const Options& options) {
  if (options.queue == nullptr) return PreparedLinear::make(weight, bias, options).run(x, y);
  check(weight, bias);
  const int64_t n = weight.shape[0], k = weight.shape[1],
                m = x.elements() / std::max<int64_t>(1, k);
  check_rows({weight.dtype, n, k}, x, y);
  LinearCall call{view_of(x.data, x.dtype, {m, k}), weight, std::nullopt,
                  view_of(y.data, y.dtype, {m, n})};
  if (bias != nullptr) call.bias = *bias;
  run_on_device(&DeviceKernels::linear, call, options);
}

std::vector<std::string_view> linear_kernels() {
  return names(std::span<const LinearKernel>(kKernels));
}

}  // namespace mopt::compute
