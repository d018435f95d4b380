// int4.so: the ABI edge of INT4.
#include <array>

#include "int4_cuda.hpp"
#include "mopt/quantizer.hpp"

namespace mopt::int4 {
namespace {

constexpr int64_t kSmallestBlock = 16, kLargestBlock = 1024;

constexpr std::array kOptions = {int_option("block", 128, kSmallestBlock, kLargestBlock,
                                            "elements along a row that share one scale; even")};

constexpr int64_t kTask = 65536;  // elements of a task

// "use block = 16, 32 or 64, or leave it out with a rule": the powers of two that divide `cols`.
std::string remedy(int64_t cols) {
  std::vector<std::string> fitting;
  for (int64_t block = kSmallestBlock; block <= kLargestBlock; block *= 2) {
    if (cols % block == 0) fitting.push_back(std::to_string(block));
  }
  if (fitting.empty()) return "no power of two from 16 on does; leave it out with a rule";
  std::string text = "use block = " + fitting[0];
  for (size_t i = 1; i < fitting.size(); ++i) {
    text += (i + 1 == fitting.size() ? " or " : ", ") + fitting[i];
  }
  return text + ", or leave it out with a rule";
}

class Int4 {
 public:
  static constexpr const char* name = "int4";
  static constexpr const char* summary = "4-bit integer, symmetric, a float32 scale per block";
  static constexpr std::array options = kOptions;
  static constexpr bool concurrent = true;
  static constexpr bool cuda = kPluginCuda;

  explicit Int4(const Settings& settings) : block_(settings.integer("block")) {
    if (block_ % 2 == 0) return;
    throw Error(MOPT_INVALID_ARGUMENT,
                "block must be even, found " + std::to_string(block_) +
                    "; use block = " + std::to_string(block_ + 1),
                "block");
  }

  static std::optional<Int4> open(const Scheme& scheme) {
    const Int4 candidate(scheme.block_cols);
    const bool possible = candidate.block_ % 2 == 0 && candidate.block_ >= kSmallestBlock &&
                          candidate.block_ <= kLargestBlock;
    if (possible && scheme == candidate.scheme(MOPT_OPERAND_WEIGHT)) return candidate;
    return std::nullopt;
  }

  std::optional<Scheme> scheme(mopt_operand operand) const {
    if (operand != MOPT_OPERAND_WEIGHT) return std::nullopt;
    return Scheme{MOPT_PER_BLOCK, kI4, kF32, 1, static_cast<uint32_t>(block_), 0};
  }

  void plan(const mopt_weight_view& w, const DeclSink& sink) const {
    real_type(w.dtype);
    if (w.cols % block_ != 0) {
      throw Error(MOPT_UNSUPPORTED,
                  "block " + std::to_string(block_) + " does not divide its " +
                      std::to_string(w.cols) + " columns; " + remedy(w.cols),
                  std::string(view(w.name)));
    }
    sink.put(MOPT_ROLE_PAYLOAD, kI4, {w.rows, w.cols});
    sink.put(MOPT_ROLE_SCALE, kF32, {w.rows, w.cols / block_});
  }

  void quantize(const Exec& exec, const mopt_weight_job& job, const TensorSink& sink) const {
    const int64_t rows = job.weight->shape[0], cols = job.weight->shape[1];
    warn_if_zero(exec, name, job);
    Tensor payload = exec.alloc(kI4, {rows, cols});
    Tensor scale = exec.alloc(kF32, {rows, cols / block_});
    encode_all(exec, reals(*job.weight), {rows * cols / block_, block_}, scale.data<float>(),
               payload.data<uint8_t>());
    sink.put(MOPT_ROLE_PAYLOAD, std::move(payload));
    sink.put(MOPT_ROLE_SCALE, std::move(scale));
  }

  void dequantize(const Exec& exec, const Parts& parts, DLTensor& out) const {
    const auto* codes = data<uint8_t>(parts.at(MOPT_ROLE_PAYLOAD));
    if (out.shape[1] % block_ != 0) {
      throw Error(MOPT_DATA_LOSS,
                  "expected a multiple of " + std::to_string(block_) + " columns, found " +
                      std::to_string(out.shape[1]) +
                      "; the checkpoint is damaged or of another layout",
                  std::string(view(parts.raw().name)));
    }
    const int64_t count = elements(out) / block_;
    const auto* scales = data<float>(parts.scales(count));
    const RealsOut to = reals_out(out);
    if constexpr (kPluginCuda) {
      if (exec.cuda()) return device::decode(exec, scales, codes, {count, block_}, to);
    }
    exec.for_each(count, kTask / block_, [&](int64_t begin, int64_t end) {
      decode(scales + begin, codes + begin * block_ / 2, {end - begin, block_},
             offset(to, begin * block_));
    });
  }

  float input_scale(mopt_operand, float) const { throw weights_only(); }
  void quantize_input(const Exec&, mopt_operand, const DLTensor&, const float*, DLTensor&) const {
    throw weights_only();
  }

 private:
  explicit Int4(int64_t block) : block_(block) {}

  static void encode_all(const Exec& exec, Reals x, const Blocks& blocks, float* scales,
                         uint8_t* codes) {
    if constexpr (kPluginCuda) {
      if (exec.cuda()) return device::encode(exec, x, blocks, scales, codes);
    }
    const int64_t size = blocks.size;
    exec.for_each(blocks.count, kTask / size, [&](int64_t begin, int64_t end) {
      encode(offset(x, begin * size), {end - begin, size}, scales + begin,
             codes + begin * size / 2);
    });
  }

  static Error weights_only() {
    return {MOPT_UNSUPPORTED, "int4 holds weights only; use int8 or fp8 for inputs"};
  }

  int64_t block_;
};

}  // namespace
}  // namespace mopt::int4

MOPT_PLUGIN("org.mopt.int4", "0.1.0", mopt::QuantizerComponent<mopt::int4::Int4>::value)
