// trap: INT8 per row as int8 writes it, with a CUDA kernel that can be told to break. What a host
// does with the broken kernel of somebody else's plugin is shown with it on hardware
// (tests/bench/device/faults.sh); on the CPU it is a format like any other.
#include <array>

#include "fault.hpp"
#include "mopt/numeric/int8.hpp"
#include "mopt/quantizer.hpp"
#include "trap_cuda.hpp"

namespace mopt::trap {
namespace {

constexpr mopt_option text_option(const char* name, const char* help) {
  return {sizeof(mopt_option),           MOPT_STR, name, help, 0, 0, nullptr,
          {MOPT_STR, 0, {.s = {"", 0}}}, 0,        0};
}

class Trap {
 public:
  static constexpr const char* name = "trap";
  static constexpr const char* summary = "INT8 per row, with a CUDA kernel that breaks when told";
  static constexpr std::array options = {
      text_option("tensor", "the kernel breaks at weights whose name contains this"),
      text_option("armed", "and only while this file is there")};
  static constexpr bool concurrent = true;
  static constexpr bool cuda = kPluginCuda;

  explicit Trap(const Settings& settings)
      : fault_{settings.text("tensor"), settings.text("armed")} {}

  // What it wrote is int8's to read.
  static std::optional<Trap> open(const Scheme&) { return std::nullopt; }

  std::optional<Scheme> scheme(mopt_operand operand) const {
    if (operand != MOPT_OPERAND_WEIGHT) return std::nullopt;
    return Scheme{MOPT_PER_CHANNEL, kI8, kF32, 0, 0, 0};
  }

  void plan(const mopt_weight_view& w, const DeclSink& sink) const {
    real_type(w.dtype);
    sink.put(MOPT_ROLE_PAYLOAD, kI8, {w.rows, w.cols});
    sink.put(MOPT_ROLE_SCALE, kF32, {w.rows});
  }

  void quantize(const Exec& exec, const mopt_weight_job& job, const TensorSink& sink) const {
    const int64_t rows = job.weight->shape[0], cols = job.weight->shape[1];
    warn_if_zero(exec, name, job);
    const Reals w = reals(*job.weight);
    Tensor payload = exec.alloc(kI8, {rows, cols}), scale = exec.alloc(kF32, {rows});
    encode(exec, {w, rows, cols}, view(job.name), scale.data<float>(), payload.data<int8_t>());
    sink.put(MOPT_ROLE_PAYLOAD, std::move(payload));
    sink.put(MOPT_ROLE_SCALE, std::move(scale));
  }

  void dequantize(const Exec& exec, const Parts& parts, DLTensor& out) const {
    const int64_t rows = out.shape[0], cols = out.shape[1];
    const auto* codes = data<int8_t>(parts.at(MOPT_ROLE_PAYLOAD));
    const auto* scales = data<float>(parts.scales(rows));
    const RealsOut all = reals_out(out);
    if constexpr (kPluginCuda) {
      if (exec.cuda()) return device::decode(exec, codes, scales, rows, cols, all);
    }
    for_rows(exec, rows, cols, [&](int64_t r) {
      visit(offset(all, r * cols), [&](auto* to) {
        for (int64_t i = 0; i < cols; ++i)
          put(int8::decode(codes[r * cols + i]) * scales[r], to[i]);
      });
    });
  }

  float input_scale(mopt_operand, float) const { only_weights(); }
  void quantize_input(const Exec&, mopt_operand, const DLTensor&, const float*, DLTensor&) const {
    only_weights();
  }

 private:
  struct Matrix {
    Reals x;
    int64_t rows, cols;
  };

  [[noreturn]] static void only_weights() {
    throw Error(MOPT_UNSUPPORTED, "trap holds weights only; use int8");
  }

  void encode(const Exec& exec, const Matrix& w, std::string_view weight, float* scales,
              int8_t* codes) const {
    if constexpr (kPluginCuda) {
      const auto kernel = fault_.hits(weight) ? device::Kernel::kBroken : device::Kernel::kSound;
      if (exec.cuda()) return device::encode(exec, w.x, w.rows, w.cols, kernel, scales, codes);
    }
    for_rows(exec, w.rows, w.cols, [&](int64_t r) {
      visit(offset(w.x, r * w.cols), [&](const auto* row) {
        scales[r] = bounded_scale(absmax_of(row, w.cols), int8::kMax, w.x.type);
        for (int64_t i = 0; i < w.cols; ++i)
          codes[r * w.cols + i] = int8::encode(to_float(row[i]) / scales[r]);
      });
    });
  }

  Fault fault_;
};

}  // namespace
}  // namespace mopt::trap

MOPT_PLUGIN("org.mopt.test.trap", "0.1.0", mopt::QuantizerComponent<mopt::trap::Trap>::value)
