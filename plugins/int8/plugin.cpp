// int8.so: the ABI edge of INT8.
#include <array>

#include "int8.hpp"
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
    const Reals w = reals(*job.weight);
    Tensor payload = exec.alloc(kI8, {rows, cols});
    Tensor scale = exec.alloc(kF32, scale_shape(rows));
    auto* codes = payload.data<int8_t>();
    auto* scales = scale.data<float>();
    if (granularity_ == MOPT_PER_TENSOR) {
      *scales = bounded_scale(job.absmax, kMax, w.type);
      exec.for_each(rows * cols, kTask, [&](int64_t begin, int64_t end) {
        encode(offset(w, begin), end - begin, *scales, codes + begin);
      });
    } else {
      for_rows(exec, rows, cols, [&](int64_t r) {
        const Reals row = offset(w, r * cols);
        scales[r] = bounded_scale(absmax(row, cols), kMax, w.type);
        encode(row, cols, scales[r], codes + r * cols);
      });
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

  std::vector<int64_t> scale_shape(int64_t rows) const {
    if (granularity_ == MOPT_PER_TENSOR) return {};
    return {rows};
  }

  mopt_granularity granularity_;
};

}  // namespace
}  // namespace mopt::int8

MOPT_PLUGIN("org.mopt.int8", "0.1.0", mopt::QuantizerComponent<mopt::int8::Int8>::value)
