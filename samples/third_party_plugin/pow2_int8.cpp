// pow2_int8: 8-bit integers with one power-of-two scale per output row, so that scaling is exact.
// code = round(w / 2^e), 2^e the first power of two above absmax / 127. Weights only.
#include <mopt/numeric/bf16.hpp>
#include <mopt/quantizer.hpp>

#include <algorithm>
#include <cmath>

namespace {

using namespace mopt;

float at(const DLTensor& t, int64_t i) {
  return same(t.dtype, kBf16) ? bf16::decode(data<uint16_t>(t)[i]) : data<float>(t)[i];
}
float scale_of(float absmax) {
  if (absmax == 0) return 1.0f;
  return std::ldexp(1.0f, std::ilogb(std::max(absmax / 127.0f, 0x1p-126f)) + 1);
}

class Pow2Int8 {
 public:
  static constexpr const char* name = "pow2_int8";
  static constexpr const char* summary = "INT8 weights, one power-of-two scale per row";
  static constexpr bool concurrent = true;

  explicit Pow2Int8(const Settings&) {}
  static std::optional<Pow2Int8> open(const Scheme& scheme) {
    if (scheme != *Pow2Int8(Settings(nullptr, 0)).scheme(MOPT_OPERAND_WEIGHT)) return {};
    return Pow2Int8(Settings(nullptr, 0));
  }
  std::optional<Scheme> scheme(mopt_operand operand) const {
    if (operand != MOPT_OPERAND_WEIGHT) return {};
    return Scheme{.granularity = MOPT_PER_CHANNEL, .element = kI8};
  }
  void plan(const mopt_weight_view& w, const DeclSink& out) const {
    if (!same(w.dtype, kBf16) && !same(w.dtype, kF32)) {
      throw Error(MOPT_UNSUPPORTED, "pow2_int8 reads bf16 and f32, found " + dtype_name(w.dtype),
                  std::string(view(w.name)));
    }
    out.put(MOPT_ROLE_PAYLOAD, kI8, {w.rows, w.cols});
    out.put(MOPT_ROLE_SCALE, kF32, {w.rows});
  }
  void quantize(const Exec& exec, const mopt_weight_job& job, const TensorSink& out) const {
    const int64_t rows = job.weight->shape[0], cols = job.weight->shape[1];
    Tensor codes = exec.alloc(kI8, {rows, cols}), scales = exec.alloc(kF32, {rows});
    exec.for_each(rows, 16, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        float absmax = 0;
        for (int64_t c = 0; c < cols; ++c) {
          absmax = std::max(absmax, std::fabs(at(*job.weight, r * cols + c)));
        }
        const float scale = scales.data<float>()[r] = scale_of(absmax);
        for (int64_t i = r * cols; i < (r + 1) * cols; ++i) {
          codes.data<int8_t>()[i] = static_cast<int8_t>(std::nearbyint(at(*job.weight, i) / scale));
        }
      }
    });
    out.put(MOPT_ROLE_PAYLOAD, std::move(codes));
    out.put(MOPT_ROLE_SCALE, std::move(scales));
  }
  void dequantize(const Exec&, const Parts& parts, DLTensor& out) const {
    const int64_t cols = parts.raw().cols;
    for (int64_t i = 0; i < elements(out); ++i) {
      const float value = data<float>(parts.at(MOPT_ROLE_SCALE))[i / cols] *
                          static_cast<float>(data<int8_t>(parts.at(MOPT_ROLE_PAYLOAD))[i]);
      if (same(out.dtype, kF32)) data<float>(out)[i] = value;
      if (same(out.dtype, kBf16)) data<uint16_t>(out)[i] = bf16::encode(value);
    }
  }
  float input_scale(mopt_operand, float) const { throw Error(MOPT_UNSUPPORTED, "weights only"); }
  void quantize_input(const Exec&, mopt_operand, const DLTensor&, const float*, DLTensor&) const {
    throw Error(MOPT_UNSUPPORTED, "weights only");
  }
};

}  // namespace

MOPT_PLUGIN("org.example.pow2_int8", "1.0.0", QuantizerComponent<Pow2Int8>::value)
