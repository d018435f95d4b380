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

// The product of all extents but the last.
int64_t rows_of(const View& v) {
  return v.ndim == 0 ? 1 : elements(v.extents().first(static_cast<size_t>(v.ndim - 1)));
}

void check_operand(const Codes& operand) {
  const auto& [codes, scales] = operand;
  const int64_t rows = rows_of(codes);
  require(same(codes.dtype, kE4m3), "linear", "codes in e4m3", codes);
  require(is_f32(scales) && (scales.elements() == 1 || scales.elements() == rows), "linear",
          "one scale in f32, or one for each of the " + std::to_string(rows) + " rows of " +
              text(codes),
          scales);
}

void check_codes(const Codes& x, const Codes& weight, const View* bias, const View& y) {
  require(weight.codes.ndim == 2, "linear", "a weight [out, in]", weight.codes);
  check_operand(weight);
  check_operand(x);
  const int64_t m = rows_of(x.codes), n = weight.codes.shape[0], k = weight.codes.shape[1];
  require(x.codes.columns() == k, "linear", "an input of " + std::to_string(k) + " columns",
          x.codes);
  require((is_f32(y) || is_bf16(y)) && y.columns() == n && y.elements() == m * n, "linear",
          "an output of " + std::to_string(m) + " rows of " + std::to_string(n) + " in f32 or bf16",
          y);
  if (bias == nullptr) return;
  require(bias->ndim == 1 && bias->shape[0] == n && same(bias->dtype, y.dtype), "linear",
          "a bias of the " + std::to_string(n) + " outputs of " + text(weight.codes) + " in " +
              dtype_name(y.dtype),
          *bias);
}

LinearCall call_of(const CodesProblem& p) {
  const auto at = [](DLDataType dtype, std::initializer_list<int64_t> shape) {
    return view_of(aligned_address(), dtype, shape);
  };
  const auto scales = [&](CodesProblem::Scales kind, int64_t rows) {
    return at(kF32, {kind == CodesProblem::Scales::kOne ? 1 : rows});
  };
  LinearCall call{at(kE4m3, {p.m, p.k}), at(kE4m3, {p.n, p.k}),   std::nullopt,
                  at(p.y, {p.m, p.n}),   scales(p.x_scales, p.m), scales(p.weight_scales, p.n)};
  if (p.bias) call.bias = at(p.y, {p.n});
  return call;
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
  if (options.queue == nullptr && options.work == Work::kRun)
    return PreparedLinear::make(weight, bias, options).run(x, y);
  check(weight, bias);
  const int64_t n = weight.shape[0], k = weight.shape[1],
                m = x.elements() / std::max<int64_t>(1, k);
  check_rows({weight.dtype, n, k}, x, y);
  LinearCall call{view_of(x.data, x.dtype, {m, k}), weight, std::nullopt,
                  view_of(y.data, y.dtype, {m, n})};
  if (bias != nullptr) call.bias = *bias;
  if (options.queue != nullptr) return run_on_device(&DeviceKernels::linear, call, options);
  (void)choose(std::span<const LinearKernel>(kKernels), LinearProblem{weight, call.bias}, options);
}

void linear(const Codes& x, const Codes& weight, const View* bias, const View& y,
            const Options& options) {
  check_codes(x, weight, bias, y);
  const int64_t m = rows_of(x.codes), n = weight.codes.shape[0], k = weight.codes.shape[1];
  LinearCall call{view_of(x.codes.data, kE4m3, {m, k}), weight.codes, std::nullopt,
                  view_of(y.data, y.dtype, {m, n}),     x.scales,     weight.scales};
  if (bias != nullptr) call.bias = *bias;
  if (options.queue != nullptr) return run_on_device(&DeviceKernels::linear, call, options);
  pick(std::span<const LinearKernel>(kKernels), options, [](const LinearKernel& row) {
    return row.name == kKernels.back().name ? std::string_view() : "it has no products of codes";
  });
  if (options.work == Work::kRun) linear_codes_reference(call);
}

std::string_view linear_codes_refused(const CodesProblem& problem, const Options& options) {
  if (options.queue == nullptr) return "the CPU has none";
  const LinearCall call = call_of(problem);
  const Device& device = options.queue->device();
  const DeviceRows<LinearCall> rows = device.kernels().linear;
  const auto refusal = [&](const DeviceKernel<LinearCall>& row) -> std::string_view {
    if (row.name == rows.back().name) return "the kernel that takes everything has no tensor cores";
    return row.refuse(call, device.info());
  };
  for (const std::string& name : options.forced) {
    for (const DeviceKernel<LinearCall>& row : rows) {
      if (row.name == name) return refusal(row);
    }
  }
  std::string_view fastest;
  for (const DeviceKernel<LinearCall>& row : rows) {
    const std::string_view reason = refusal(row);
    if (reason.empty()) return {};
    if (fastest.empty()) fastest = reason;
  }
  return fastest;
}

std::vector<std::string_view> linear_kernels() {
  return names(kKernels);
}

}  // namespace mopt::compute
