// nvfp4.so: the ABI edge of NVFP4.
#include <algorithm>
#include <array>

#include "mopt/numeric/range.hpp"
#include "mopt/quantizer.hpp"
#include "nvfp4_cuda.hpp"

namespace mopt::nvfp4 {
namespace {

constexpr float kFullRange = 2688.0f;  // 6 * 448: the largest block scale is 448
constexpr float kE4m3Range = 448.0f;   // code * scale stays within E4M3

constexpr const char* kMaths[] = {"fp4", "fp8"};
constexpr std::array kOptions = {
    int_option("block", 16, 16, 32, "elements along a row that share one E4M3 scale: 16 or 32"),
    choice_option(
        "math", "fp4", kMaths,
        "what the engine multiplies in: fp4 (global scale absmax/2688), or fp8, where code "
        "times block scale must fit into E4M3 (absmax/448)")};

// Blocks per task: 64 Ki elements.
constexpr int64_t kTask = 4096;

class Nvfp4 {
 public:
  static constexpr const char* name = "nvfp4";
  static constexpr const char* summary =
      "4-bit float, an E4M3 scale per block, an F32 scale per tensor";
  static constexpr std::array options = kOptions;
  static constexpr bool concurrent = true;
  static constexpr bool cuda = kPluginCuda;

  explicit Nvfp4(const Settings& settings)
      : block_(settings.integer("block")),
        divisor_(settings.text("math") == "fp8" ? kE4m3Range : kFullRange) {
    if (block_ == 16 || block_ == 32) return;
    throw Error(MOPT_INVALID_ARGUMENT,
                "block must be 16 or 32, found " + std::to_string(block_) + "; use block = 16",
                "block");
  }

  static std::optional<Nvfp4> open(const Scheme& scheme) {
    for (const int64_t block : {16, 32}) {
      const Nvfp4 candidate(block);
      if (scheme == candidate.layout(0)) return candidate;
      if (scheme == candidate.layout(MOPT_SCHEME_DYNAMIC)) return candidate;
    }
    return std::nullopt;
  }

  std::optional<Scheme> scheme(mopt_operand operand) const {
    if (operand == MOPT_OPERAND_WEIGHT) return layout(0);
    // An engine that multiplies in FP4 does so in blocks of 16.
    if (block_ != 16 || divisor_ != kFullRange) return std::nullopt;
    return layout(MOPT_SCHEME_DYNAMIC);
  }

  void plan(const mopt_weight_view& w, const DeclSink& sink) const {
    real_type(w.dtype);
    if (w.cols % block_ != 0) {
      throw Error(MOPT_UNSUPPORTED,
                  "nvfp4 needs a multiple of " + std::to_string(block_) + " columns, found " +
                      std::to_string(w.cols) + "; leave it out with a rule",
                  std::string(view(w.name)));
    }
    sink.put(MOPT_ROLE_PAYLOAD, kE2m1, {w.rows, w.cols});
    sink.put(MOPT_ROLE_SCALE, kE4m3, {w.rows, w.cols / block_});
    sink.put(MOPT_ROLE_GLOBAL_SCALE, kF32, {});
  }

  void quantize(const Exec& exec, const mopt_weight_job& job, const TensorSink& sink) const {
    const int64_t rows = job.weight->shape[0], cols = job.weight->shape[1];
    warn_if_zero(exec, name, job);
    const float global = scale_of(job.group_absmax, divisor_);
    Tensor payload = exec.alloc(kE2m1, {rows, cols});
    Tensor scale = exec.alloc(kE4m3, {rows, cols / block_});
    Tensor global_scale = exec.alloc(kF32, {});
    encode_all(exec, reals(*job.weight), {rows * cols / block_, block_, global},
               {global_scale.data<float>(), scale.data<uint8_t>(), payload.data<uint8_t>()});
    sink.put(MOPT_ROLE_PAYLOAD, std::move(payload));
    sink.put(MOPT_ROLE_SCALE, std::move(scale));
    sink.put(MOPT_ROLE_GLOBAL_SCALE, std::move(global_scale));
  }

  void dequantize(const Exec& exec, const Parts& parts, DLTensor& out) const {
    auto* codes = data<uint8_t>(parts.at(MOPT_ROLE_PAYLOAD));
    auto* scales = data<uint8_t>(parts.scales(elements(out) / block_));
    auto* stored = data<float>(parts.at(MOPT_ROLE_GLOBAL_SCALE));
    const RealsOut to = reals_out(out);
    if constexpr (kPluginCuda) {
      const Blocks blocks{elements(out) / block_, block_, 0};
      if (exec.cuda()) return device::decode(exec, {stored, scales, codes}, blocks, to);
    }
    const float global = *stored;
    exec.for_each(elements(out) / block_, kTask, [&](int64_t begin, int64_t end) {
      decode(scales + begin, codes + begin * block_ / 2, {end - begin, block_, global},
             offset(to, begin * block_));
    });
  }

  // Engines cast an NVFP4 KV cache up to E4M3, so its scale leaves code * block scale in that
  // range.
  float input_scale(mopt_operand operand, float absmax) const {
    return scale_of(absmax, operand == MOPT_OPERAND_KV ? kE4m3Range : kFullRange);
  }

  void quantize_input(const Exec& exec, mopt_operand operand, const DLTensor& x, const float* scale,
                      DLTensor& out) const {
    const int64_t cols = x.shape[x.ndim - 1];
    if (cols % block_ != 0) {
      throw Error(MOPT_UNSUPPORTED, "nvfp4 needs inputs of a multiple of " +
                                        std::to_string(block_) + " channels, found " +
                                        std::to_string(cols));
    }
    const Reals from = reals(x);
    const RealsOut to = reals_out(out);
    if constexpr (kPluginCuda) {
      if (exec.cuda()) return quantize_input_on_device(exec, operand, from, elements(x), scale, to);
    }
    const float global = scale != nullptr ? *scale : unstored_scale(operand, from, elements(x));
    exec.for_each(elements(x) / block_, kTask, [&](int64_t begin, int64_t end) {
      round_trip(offset(from, begin * block_), {end - begin, block_, global},
                 offset(to, begin * block_));
    });
  }

 private:
  explicit Nvfp4(int64_t block) : block_(block), divisor_(kFullRange) {}

  Scheme layout(mopt_scheme_flags dynamic) const {
    return {MOPT_PER_BLOCK,
            kE2m1,
            kE4m3,
            1,
            static_cast<uint32_t>(block_),
            MOPT_SCHEME_GLOBAL_SCALE | dynamic};
  }

  void encode_all(const Exec& exec, Reals x, const Blocks& blocks, const device::Codes& to) const {
    if constexpr (kPluginCuda) {
      if (exec.cuda()) return device::encode(exec, x, blocks, to);
    }
    *to.global = blocks.global;
    exec.for_each(blocks.count, kTask, [&](int64_t begin, int64_t end) {
      encode(offset(x, begin * block_), {end - begin, block_, blocks.global}, to.scales + begin,
             to.payload + begin * block_ / 2);
    });
  }

  void quantize_input_on_device(const Exec& exec, mopt_operand operand, Reals x, int64_t n,
                                const float* scale, RealsOut out) const {
    Blocks blocks{n / block_, block_, 1.0f};
    if (scale != nullptr) blocks.global = *scale;
    if (scale != nullptr || operand == MOPT_OPERAND_KV) {
      device::round_trip(exec, x, blocks, out);
    } else {
      device::round_trip_by_range(exec, x, blocks, kFullRange, out);
    }
  }

  // Engines take 1 for a KV cache without a scale, and the range of what they see for an input.
  float unstored_scale(mopt_operand operand, Reals x, int64_t n) const {
    return operand == MOPT_OPERAND_KV ? 1.0f : input_scale(operand, absmax(x, n));
  }

  int64_t block_;
  float divisor_;
};

}  // namespace
}  // namespace mopt::nvfp4

MOPT_PLUGIN("org.mopt.nvfp4", "0.1.0", mopt::QuantizerComponent<mopt::nvfp4::Nvfp4>::value)
