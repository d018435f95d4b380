// mxfp.so: the ABI edge of MXFP4 and MXFP8.
#include "mopt/quantizer.hpp"
#include "mxfp_cuda.hpp"

namespace mopt::mxfp {
namespace {

constexpr int64_t kTask = 2048;  // blocks of a task: 64 Ki elements

// T names the component and its element.
template <class T>
class Mxfp {
 public:
  static constexpr bool concurrent = true;
  static constexpr bool cuda = kPluginCuda;

  static std::optional<T> open(const Scheme& scheme) {
    if (scheme == layout(0) || scheme == layout(MOPT_SCHEME_DYNAMIC)) return T();
    return std::nullopt;
  }

  std::optional<Scheme> scheme(mopt_operand operand) const {
    if (operand == MOPT_OPERAND_WEIGHT) return layout(0);
    if (operand == MOPT_OPERAND_INPUT) return layout(MOPT_SCHEME_DYNAMIC);
    return std::nullopt;
  }

  void plan(const mopt_weight_view& w, const DeclSink& sink) const {
    real_type(w.dtype);
    check_columns(w.cols, std::string(view(w.name)));
    sink.put(MOPT_ROLE_PAYLOAD, dtype(), {w.rows, w.cols});
    sink.put(MOPT_ROLE_SCALE, kE8m0, {w.rows, w.cols / kBlock});
  }

  void quantize(const Exec& exec, const mopt_weight_job& job, const TensorSink& sink) const {
    const int64_t rows = job.weight->shape[0], cols = job.weight->shape[1];
    warn_if_zero(exec, T::name, job);
    Tensor payload = exec.alloc(dtype(), {rows, cols});
    Tensor scale = exec.alloc(kE8m0, {rows, cols / kBlock});
    encode_all(exec, reals(*job.weight), rows * cols / kBlock, scale.data<uint8_t>(),
               payload.data<uint8_t>());
    sink.put(MOPT_ROLE_PAYLOAD, std::move(payload));
    sink.put(MOPT_ROLE_SCALE, std::move(scale));
  }

  void dequantize(const Exec& exec, const Parts& parts, DLTensor& out) const {
    check_columns(out.shape[1], std::string(view(parts.raw().name)));
    const auto* codes = data<uint8_t>(parts.at(MOPT_ROLE_PAYLOAD));
    const auto* scales = data<uint8_t>(parts.scales(elements(out) / kBlock));
    const RealsOut to = reals_out(out);
    if constexpr (kPluginCuda) {
      const Blocks blocks{elements(out) / kBlock, T::element};
      if (exec.cuda()) return device::decode(exec, scales, codes, blocks, to);
    }
    exec.for_each(elements(out) / kBlock, kTask, [&](int64_t begin, int64_t end) {
      decode(scales + begin, codes + begin * code_bytes(T::element), {end - begin, T::element},
             offset(to, begin * kBlock));
    });
  }

  float input_scale(mopt_operand, float) const {
    throw Error(MOPT_UNSUPPORTED, std::string(T::name) + " stores no scale of an input");
  }

  void quantize_input(const Exec& exec, mopt_operand, const DLTensor& x, const float*,
                      DLTensor& out) const {
    check_columns(x.shape[x.ndim - 1], {});
    const Reals from = reals(x);
    const RealsOut to = reals_out(out);
    if constexpr (kPluginCuda) {
      const Blocks blocks{elements(x) / kBlock, T::element};
      if (exec.cuda()) return device::round_trip(exec, from, blocks, to);
    }
    exec.for_each(elements(x) / kBlock, kTask, [&](int64_t begin, int64_t end) {
      round_trip(offset(from, begin * kBlock), {end - begin, T::element},
                 offset(to, begin * kBlock));
    });
  }

 private:
  static constexpr DLDataType dtype() { return T::element == Element::kE2m1 ? kE2m1 : kE4m3; }

  static Scheme layout(mopt_scheme_flags flags) {
    return {MOPT_PER_BLOCK, dtype(), kE8m0, 1, static_cast<uint32_t>(kBlock), flags};
  }

  static void encode_all(const Exec& exec, Reals x, int64_t count, uint8_t* scales,
                         uint8_t* codes) {
    if constexpr (kPluginCuda) {
      if (exec.cuda()) return device::encode(exec, x, {count, T::element}, scales, codes);
    }
    exec.for_each(count, kTask, [&](int64_t begin, int64_t end) {
      encode(offset(x, begin * kBlock), {end - begin, T::element}, scales + begin,
             codes + begin * code_bytes(T::element));
    });
  }

  static void check_columns(int64_t cols, const std::string& where) {
    if (cols % kBlock == 0) return;
    throw Error(MOPT_UNSUPPORTED,
                std::string(T::name) + " needs a multiple of 32 columns, found " +
                    std::to_string(cols) + "; leave it out with a rule",
                where);
  }
};

struct Mxfp4 : Mxfp<Mxfp4> {
  static constexpr const char* name = "mxfp4";
  static constexpr const char* summary = "4-bit float E2M1, a power of two per 32 elements";
  static constexpr Element element = Element::kE2m1;
};
struct Mxfp8 : Mxfp<Mxfp8> {
  static constexpr const char* name = "mxfp8";
  static constexpr const char* summary = "8-bit float E4M3, a power of two per 32 elements";
  static constexpr Element element = Element::kE4m3;
};

}  // namespace
}  // namespace mopt::mxfp

MOPT_PLUGIN("org.mopt.mxfp", "0.1.0", mopt::QuantizerComponent<mopt::mxfp::Mxfp4>::value,
            mopt::QuantizerComponent<mopt::mxfp::Mxfp8>::value)
