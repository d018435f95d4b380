// fp8.so: the ABI edge of FP8.
#include <algorithm>
#include <array>

#include "fp8_cuda.hpp"
#include "mopt/numeric/e4m3.hpp"
#include "mopt/numeric/range.hpp"
#include "mopt/quantizer.hpp"

namespace mopt::fp8 {
namespace {

constexpr const char* kGranularities[] = {"tensor", "channel", "token", "block"};
constexpr std::array kOptions = {
    choice_option("granularity", "tensor", kGranularities,
                  "what shares a scale: tensor (weights, inputs, KV), channel (weights: an output "
                  "row), token (inputs, at run time), block (weights: 128x128)")};

constexpr int64_t kTask = 65536;  // elements of a task over one run

int64_t tiles(int64_t extent) {
  return (extent + kTile - 1) / kTile;
}

class Fp8 {
 public:
  static constexpr const char* name = "fp8";
  static constexpr const char* summary = "8-bit float E4M3 with float32 scales";
  static constexpr std::array options = kOptions;
  static constexpr bool concurrent = true;
  static constexpr bool cuda = kPluginCuda;

  explicit Fp8(const Settings& settings) : granularity_(parse(settings.text("granularity"))) {}

  static std::optional<Fp8> open(const Scheme& scheme) {
    const Fp8 candidate(scheme.granularity);
    if (scheme == candidate.layout()) return candidate;
    return std::nullopt;
  }

  std::optional<Scheme> scheme(mopt_operand operand) const {
    const bool weight = operand == MOPT_OPERAND_WEIGHT, input = operand == MOPT_OPERAND_INPUT;
    if (granularity_ == MOPT_PER_TENSOR) return layout();
    if (granularity_ == MOPT_PER_TOKEN) return input ? std::optional(layout()) : std::nullopt;
    return weight ? std::optional(layout()) : std::nullopt;
  }

  void plan(const mopt_weight_view& w, const DeclSink& sink) const {
    real_type(w.dtype);
    if (granularity_ == MOPT_PER_TOKEN) {
      throw Error(
          MOPT_UNSUPPORTED,
          "fp8 with granularity token holds inputs, not weights; use tensor, channel or block",
          std::string(view(w.name)));
    }
    sink.put(MOPT_ROLE_PAYLOAD, kE4m3, {w.rows, w.cols});
    sink.put(MOPT_ROLE_SCALE, kF32, scale_shape(w.rows, w.cols));
  }

  void quantize(const Exec& exec, const mopt_weight_job& job, const TensorSink& sink) const {
    const int64_t rows = job.weight->shape[0], cols = job.weight->shape[1];
    warn_if_zero(exec, name, job);
    const Matrix w{reals(*job.weight), rows, cols};
    Tensor payload = exec.alloc(kE4m3, {rows, cols});
    Tensor scale = exec.alloc(kF32, scale_shape(rows, cols));
    auto* codes = payload.data<uint8_t>();
    auto* scales = scale.data<float>();
    const bool tiled = granularity_ == MOPT_PER_BLOCK && !single_tile(rows, cols);
    if (granularity_ == MOPT_PER_CHANNEL) {
      encode_rows(exec, w, scales, codes);
    } else if (tiled) {
      encode_tiles(exec, w, scales, codes);
    } else {
      encode_whole(exec, w, one_scale(job, w), scales, codes);
    }
    sink.put(MOPT_ROLE_PAYLOAD, std::move(payload));
    sink.put(MOPT_ROLE_SCALE, std::move(scale));
  }

  void dequantize(const Exec& exec, const Parts& parts, DLTensor& out) const {
    const int64_t rows = out.shape[0], cols = out.shape[1];
    const auto* codes = data<uint8_t>(parts.at(MOPT_ROLE_PAYLOAD));
    const int64_t count = elements(scale_shape(rows, cols));
    const auto* scales = data<float>(parts.scales(count));
    const RealsOut to = reals_out(out);
    const bool one = count == 1;
    if constexpr (kPluginCuda) {
      if (exec.cuda()) {
        const auto several =
            granularity_ == MOPT_PER_BLOCK ? device::Scales::kPerTile : device::Scales::kPerRow;
        return device::decode(exec, codes, scales, one ? device::Scales::kOne : several, rows, cols,
                              to);
      }
    }
    for_rows(exec, rows, cols, [&](int64_t r) {
      const int64_t first = granularity_ == MOPT_PER_BLOCK ? r / kTile * tiles(cols) : r;
      const float* row_scales = scales + (one ? 0 : first);
      const int64_t run = granularity_ == MOPT_PER_BLOCK && !one ? kTile : cols;
      for (int64_t c = 0; c < cols; c += run) {
        const int64_t i = r * cols + c;
        decode(codes + i, std::min(run, cols - c), row_scales[c / run], offset(to, i));
      }
    });
  }

  float input_scale(mopt_operand, float absmax) const {
    if (granularity_ == MOPT_PER_TENSOR) return scale_of(absmax, e4m3::kMax);
    throw Error(MOPT_UNSUPPORTED, "fp8 stores no scale of an input with this granularity");
  }

  void quantize_input(const Exec& exec, mopt_operand operand, const DLTensor& x, const float* scale,
                      DLTensor& out) const {
    const Matrix rows = rows_of(x);
    const RealsOut to = reals_out(out);
    if constexpr (kPluginCuda) {
      if (exec.cuda()) return quantize_input_on_device(exec, operand, rows, scale, to);
    }
    with_scales(exec, operand, rows, scale, [&](int64_t r, float s) {
      round_trip(offset(rows.x, r * rows.cols), rows.cols, s, offset(to, r * rows.cols));
    });
  }

  void encode_input(const Exec& exec, const DLTensor& x, const float* scale, DLTensor& codes,
                    DLTensor& scales) const {
    const Matrix rows = rows_of(x);
    auto* to = data<uint8_t>(codes);
    auto* stored = data<float>(scales);
    if constexpr (kPluginCuda) {
      if (exec.cuda()) return encode_input_on_device(exec, rows, scale, to, stored);
    }
    with_scales(exec, MOPT_OPERAND_INPUT, rows, scale, [&](int64_t r, float s) {
      encode(offset(rows.x, r * rows.cols), rows.cols, {s}, to + r * rows.cols);
      if (per_token() || r == 0) stored[r] = s;
    });
  }

 private:
  using Matrix = device::Matrix;

  explicit Fp8(mopt_granularity granularity) : granularity_(granularity) {}

  static mopt_granularity parse(const std::string& text) {
    if (text == "channel") return MOPT_PER_CHANNEL;
    if (text == "token") return MOPT_PER_TOKEN;
    return text == "block" ? MOPT_PER_BLOCK : MOPT_PER_TENSOR;
  }

  Scheme layout() const {
    const bool block = granularity_ == MOPT_PER_BLOCK;
    const auto tile = static_cast<uint32_t>(block ? kTile : 0);
    mopt_scheme_flags flags = 0;
    if (granularity_ == MOPT_PER_TOKEN) flags = MOPT_SCHEME_DYNAMIC;
    return {granularity_, kE4m3, kF32, tile, tile, flags};
  }

  static bool single_tile(int64_t rows, int64_t cols) { return rows <= kTile && cols <= kTile; }

  std::vector<int64_t> scale_shape(int64_t rows, int64_t cols) const {
    if (granularity_ == MOPT_PER_CHANNEL) return {rows};
    if (granularity_ != MOPT_PER_BLOCK || single_tile(rows, cols)) return {};
    return {tiles(rows), tiles(cols)};
  }

  // A weight within one tile has a scalar scale, and then, as upstream, its siblings' range.
  float one_scale(const mopt_weight_job& job, const Matrix& w) const {
    if (granularity_ == MOPT_PER_TENSOR) return scale_of(job.absmax, e4m3::kMax);
    return bounded_scale(job.group_absmax, e4m3::kMax, w.x.type);
  }

  void encode_whole(const Exec& exec, const Matrix& w, float scale, float* scale_out,
                    uint8_t* codes) const {
    const Quotient quotient =
        granularity_ == MOPT_PER_TENSOR ? Quotient::kSourceType : Quotient::kF32;
    if constexpr (kPluginCuda) {
      if (exec.cuda()) {
        return device::encode(exec, w.x, w.rows * w.cols, {scale, quotient}, scale_out, codes);
      }
    }
    *scale_out = scale;
    exec.for_each(w.rows * w.cols, kTask, [&](int64_t begin, int64_t end) {
      encode(offset(w.x, begin), end - begin, {scale, quotient}, codes + begin);
    });
  }

  static void encode_rows(const Exec& exec, const Matrix& w, float* scales, uint8_t* codes) {
    if constexpr (kPluginCuda) {
      if (exec.cuda()) return device::encode_rows(exec, w, scales, codes);
    }
    for_rows(exec, w.rows, w.cols, [&](int64_t r) {
      const Reals row = offset(w.x, r * w.cols);
      scales[r] = bounded_scale(absmax(row, w.cols), e4m3::kMax, w.x.type);
      encode(row, w.cols, {scales[r]}, codes + r * w.cols);
    });
  }

  // A task is one band of 128 rows. It walks over stripes of 64 tiles, so that a row gives 16 KiB
  // of bf16 in sequence and the second reading, for the codes, comes from the cache.
  static void encode_tiles(const Exec& exec, const Matrix& w, float* scales, uint8_t* codes) {
    if constexpr (kPluginCuda) {
      if (exec.cuda()) return device::encode_tiles(exec, w, scales, codes);
    }
    const int64_t across = tiles(w.cols);
    exec.for_each(tiles(w.rows), 1, [&](int64_t band, int64_t) {
      for (int64_t tile = 0; tile < across; tile += kStripe) {
        const Stripe stripe{band * kTile, std::min(w.rows, (band + 1) * kTile), tile,
                            std::min(across, tile + kStripe)};
        find_tile_scales(w, stripe, scales + band * across);
        encode_stripe(w, stripe, scales + band * across, codes);
      }
    });
  }

  static constexpr int64_t kStripe = 64;  // tiles
  struct Stripe {
    int64_t first_row, last_row, first_tile, last_tile;
  };

  // Calls fn(tile, first element, elements) for the runs of a stripe, row by row.
  template <class Fn>
  static void for_runs(const Matrix& w, const Stripe& s, const Fn& fn) {
    for (int64_t r = s.first_row; r < s.last_row; ++r) {
      for (int64_t t = s.first_tile; t < s.last_tile; ++t) {
        fn(t, r * w.cols + t * kTile, std::min(kTile, w.cols - t * kTile));
      }
    }
  }

  static void find_tile_scales(const Matrix& w, const Stripe& s, float* scales) {
    float most[kStripe] = {};
    for_runs(w, s, [&](int64_t t, int64_t i, int64_t n) {
      float& tile = most[t - s.first_tile];
      tile = std::max(tile, absmax(offset(w.x, i), n));
    });
    for (int64_t t = s.first_tile; t < s.last_tile; ++t) {
      scales[t] = bounded_scale(most[t - s.first_tile], e4m3::kMax, w.x.type);
    }
  }

  static void encode_stripe(const Matrix& w, const Stripe& s, const float* scales, uint8_t* codes) {
    for_runs(w, s, [&](int64_t t, int64_t i, int64_t n) {
      encode(offset(w.x, i), n, {scales[t]}, codes + i);
    });
  }

  bool per_token() const { return granularity_ == MOPT_PER_TOKEN; }

  static Matrix rows_of(const DLTensor& x) {
    const int64_t cols = x.shape[x.ndim - 1];
    return {reals(x), cols > 0 ? elements(x) / cols : 0, cols};
  }

  // From the range of what an engine sees.
  static float range_scale(Reals x, int64_t n) { return scale_of(absmax(x, n), e4m3::kMax); }

  // Calls fn(row, its scale) for all rows, in parallel. Without a stored one engines take 1 for a
  // KV cache.
  template <class Fn>
  void with_scales(const Exec& exec, mopt_operand operand, const Matrix& x, const float* scale,
                   const Fn& fn) const {
    float one = 1;
    if (scale != nullptr) {
      one = *scale;
    } else if (operand == MOPT_OPERAND_INPUT && !per_token()) {
      one = range_scale(x.x, x.rows * x.cols);
    }
    for_rows(exec, x.rows, x.cols, [&](int64_t r) {
      fn(r, per_token() ? range_scale(offset(x.x, r * x.cols), x.cols) : one);
    });
  }

  void quantize_input_on_device(const Exec& exec, mopt_operand operand, const Matrix& x,
                                const float* scale, RealsOut out) const {
    const int64_t n = x.rows * x.cols;
    if (per_token()) {
      device::round_trip_rows(exec, x, out);
    } else if (scale != nullptr || operand == MOPT_OPERAND_KV) {
      device::round_trip(exec, x.x, n, scale != nullptr ? *scale : 1.0f, out);
    } else {
      device::round_trip_by_range(exec, x.x, n, out);
    }
  }

  void encode_input_on_device(const Exec& exec, const Matrix& x, const float* scale, uint8_t* codes,
                              float* scales) const {
    const int64_t n = x.rows * x.cols;
    if (per_token()) {
      device::encode_tokens(exec, x, scales, codes);
    } else if (scale != nullptr) {
      device::encode(exec, x.x, n, {*scale}, scales, codes);
    } else {
      device::encode_by_range(exec, x.x, n, scales, codes);
    }
  }

  mopt_granularity granularity_;
};

}  // namespace
}  // namespace mopt::fp8

MOPT_PLUGIN("org.mopt.fp8", "0.1.0", mopt::QuantizerComponent<mopt::fp8::Fp8>::value)
