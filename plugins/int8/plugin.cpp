// int8.so: the ABI edge of INT8.
#include <array>

#include "int8_cuda.hpp"
#include "mopt/numeric/int8.hpp"
#include "mopt/numeric/range.hpp"
#include "mopt/quantizer.hpp"

namespace mopt::int8 {
namespace {

constexpr const char* kGranularities[] = {"channel", "tensor", "token"};
constexpr std::array kOptions = {choice_option(
    "granularity", "channel", kGranularities,
    "what shares a scale: channel (weights: an output row; inputs: the tensor), tensor "
    "(weights, inputs), token (inputs, at run time)")};

constexpr int64_t kTask = 65536;  // elements of a task over one run

class Int8 {
 public:
  static constexpr const char* name = "int8";
  static constexpr const char* summary = "8-bit integer, symmetric, with float32 scales";
  static constexpr std::array options = kOptions;
  static constexpr bool concurrent = true;
  static constexpr bool cuda = kPluginCuda;

  explicit Int8(const Settings& settings) : granularity_(parse(settings.text("granularity"))) {}

  static std::optional<Int8> open(const Scheme& scheme) {
    for (const mopt_granularity g : {MOPT_PER_CHANNEL, MOPT_PER_TENSOR, MOPT_PER_TOKEN}) {
      if (scheme == layout(g)) return Int8(g);
    }
    return std::nullopt;
  }

  std::optional<Scheme> scheme(mopt_operand operand) const {
    const bool token = granularity_ == MOPT_PER_TOKEN;
    if (operand == MOPT_OPERAND_WEIGHT && !token) return layout(granularity_);
    if (operand == MOPT_OPERAND_INPUT) return layout(token ? MOPT_PER_TOKEN : MOPT_PER_TENSOR);
    return std::nullopt;
  }

  void plan(const mopt_weight_view& w, const DeclSink& sink) const {
    real_type(w.dtype);
    if (granularity_ == MOPT_PER_TOKEN) {
      throw Error(MOPT_UNSUPPORTED,
                  "int8 with granularity token holds inputs, not weights; use channel or tensor",
                  std::string(view(w.name)));
    }
    sink.put(MOPT_ROLE_PAYLOAD, kI8, {w.rows, w.cols});
    sink.put(MOPT_ROLE_SCALE, kF32, scale_shape(w.rows));
  }

  void quantize(const Exec& exec, const mopt_weight_job& job, const TensorSink& sink) const {
    const int64_t rows = job.weight->shape[0], cols = job.weight->shape[1];
    warn_if_zero(exec, name, job);
    const device::Matrix w{reals(*job.weight), rows, cols};
    Tensor payload = exec.alloc(kI8, {rows, cols});
    Tensor scale = exec.alloc(kF32, scale_shape(rows));
    auto* codes = payload.data<int8_t>();
    auto* scales = scale.data<float>();
    if (granularity_ == MOPT_PER_TENSOR) {
      encode_whole(exec, w, bounded_scale(job.absmax, kMax, w.x.type), scales, codes);
    } else {
      encode_rows(exec, w, scales, codes);
    }
    sink.put(MOPT_ROLE_PAYLOAD, std::move(payload));
    sink.put(MOPT_ROLE_SCALE, std::move(scale));
  }

  void dequantize(const Exec& exec, const Parts& parts, DLTensor& out) const {
    const int64_t rows = out.shape[0], cols = out.shape[1];
    const auto* codes = data<int8_t>(parts.at(MOPT_ROLE_PAYLOAD));
    const bool channel = granularity_ == MOPT_PER_CHANNEL;
    const auto* scales = data<float>(parts.scales(channel ? rows : 1));
    const RealsOut to = reals_out(out);
    if constexpr (kPluginCuda) {
      const auto layout = channel ? device::Scales::kPerRow : device::Scales::kOne;
      if (exec.cuda()) return device::decode(exec, codes, scales, layout, rows, cols, to);
    }
    for_rows(exec, rows, cols, [&](int64_t r) {
      decode(codes + r * cols, cols, scales[channel ? r : 0], offset(to, r * cols));
    });
  }

  float input_scale(mopt_operand operand, float absmax) const {
    if (operand == MOPT_OPERAND_INPUT && granularity_ != MOPT_PER_TOKEN) {
      return scale_of(absmax, kMax);
    }
    throw Error(MOPT_UNSUPPORTED, "int8 stores no scale of this operand with this granularity");
  }

  void quantize_input(const Exec& exec, mopt_operand operand, const DLTensor& x, const float* scale,
                      DLTensor& out) const {
    if (operand != MOPT_OPERAND_INPUT) {
      throw Error(MOPT_UNSUPPORTED, "int8 holds weights and inputs, not a KV cache; use fp8");
    }
    const int64_t cols = x.shape[x.ndim - 1];
    const int64_t rows = cols > 0 ? elements(x) / cols : 0;
    const Reals from = reals(x);
    const RealsOut to = reals_out(out);
    const bool token = granularity_ == MOPT_PER_TOKEN;
    if constexpr (kPluginCuda) {
      if (exec.cuda()) return quantize_input_on_device(exec, {from, rows, cols}, scale, to);
    }
    // Without a stored scale engines take the range of what they see.
    float fixed = 0;
    if (!token) fixed = scale != nullptr ? *scale : scale_of(absmax(from, elements(x)), kMax);
    for_rows(exec, rows, cols, [&](int64_t r) {
      const Reals row = offset(from, r * cols);
      const float s = token ? scale_of(absmax(row, cols), kMax) : fixed;
      round_trip(row, cols, s, offset(to, r * cols));
    });
  }

 private:
  explicit Int8(mopt_granularity granularity) : granularity_(granularity) {}

  static mopt_granularity parse(const std::string& text) {
    if (text == "tensor") return MOPT_PER_TENSOR;
    return text == "token" ? MOPT_PER_TOKEN : MOPT_PER_CHANNEL;
  }

  static Scheme layout(mopt_granularity granularity) {
    mopt_scheme_flags flags = 0;
    if (granularity == MOPT_PER_TOKEN) flags = MOPT_SCHEME_DYNAMIC;
    return {granularity, kI8, kF32, 0, 0, flags};
  }

  static void encode_whole(const Exec& exec, const device::Matrix& w, float scale, float* scale_out,
                           int8_t* codes) {
    if constexpr (kPluginCuda) {
      if (exec.cuda()) return device::encode(exec, w, scale, scale_out, codes);
    }
    *scale_out = scale;
    exec.for_each(w.rows * w.cols, kTask, [&](int64_t begin, int64_t end) {
      encode(offset(w.x, begin), end - begin, scale, codes + begin);
    });
  }

  static void encode_rows(const Exec& exec, const device::Matrix& w, float* scales, int8_t* codes) {
    if constexpr (kPluginCuda) {
      if (exec.cuda()) return device::encode_rows(exec, w, scales, codes);
    }
    for_rows(exec, w.rows, w.cols, [&](int64_t r) {
      const Reals row = offset(w.x, r * w.cols);
      scales[r] = bounded_scale(absmax(row, w.cols), kMax, w.x.type);
      encode(row, w.cols, scales[r], codes + r * w.cols);
    });
  }

  void quantize_input_on_device(const Exec& exec, const device::Matrix& x, const float* scale,
                                RealsOut out) const {
    if (granularity_ == MOPT_PER_TOKEN) {
      device::round_trip_rows(exec, x, out);
    } else if (scale != nullptr) {
      device::round_trip(exec, x, *scale, out);
    } else {
      device::round_trip_by_range(exec, x, out);
    }
  }

  std::vector<int64_t> scale_shape(int64_t rows) const {
    if (granularity_ == MOPT_PER_TENSOR) return {};
    return {rows};
  }

  mopt_granularity granularity_;
};

}  // namespace
}  // namespace mopt::int8

MOPT_PLUGIN("org.mopt.int8", "0.1.0", mopt::QuantizerComponent<mopt::int8::Int8>::value)
