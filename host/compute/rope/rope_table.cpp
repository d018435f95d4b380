// Frequencies and angles of rope. Every step is in fp32 where the original's is, in fp64 where the
// original computes with Python numbers.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "host/compute/parallel.hpp"
#include "host/compute/rope/rope.hpp"

namespace mopt::compute {
namespace {

// theta^(2i / dim): both operands and the result are fp32 in the original.
std::vector<float> powers(double theta, int64_t dim) {
  std::vector<float> out;
  for (int64_t i = 0; i < dim; i += 2) {
    out.push_back(
        std::pow(static_cast<float>(theta), static_cast<float>(i) / static_cast<float>(dim)));
  }
  return out;
}

std::vector<float> plain(double theta, int64_t dim) {
  std::vector<float> out = powers(theta, dim);
  for (float& f : out)
    f = 1.0f / f;
  return out;
}

std::vector<float> linear(const RopeAttrs& a) {
  std::vector<float> out = plain(a.theta, a.rotary_dim);
  for (float& f : out)
    f /= static_cast<float>(a.factor);
  return out;
}

// Long wavelengths are divided by the factor, short ones kept, those between interpolated.
std::vector<float> llama3(const RopeAttrs& a) {
  const auto low_wavelength = static_cast<float>(a.original_max_position / a.low_freq_factor);
  const auto high_wavelength = static_cast<float>(a.original_max_position / a.high_freq_factor);
  const auto factor = static_cast<float>(a.factor);
  std::vector<float> out = plain(a.theta, a.rotary_dim);
  for (float& f : out) {
    const float wavelength = static_cast<float>(2.0 * std::numbers::pi) / f;
    if (wavelength < high_wavelength) continue;
    if (wavelength > low_wavelength) {
      f /= factor;
      continue;
    }
    const float smooth = (static_cast<float>(a.original_max_position) / wavelength -
                          static_cast<float>(a.low_freq_factor)) /
                         static_cast<float>(a.high_freq_factor - a.low_freq_factor);
    f = (1.0f - smooth) * f / factor + smooth * f;
  }
  return out;
}

// The dimension whose wavelength makes `rotations` turns over the original context.
double correction_dim(double rotations, const RopeAttrs& a) {
  return static_cast<double>(a.rotary_dim) *
         std::log(a.original_max_position / (rotations * 2.0 * std::numbers::pi)) /
         (2.0 * std::log(a.theta));
}

std::vector<float> yarn(const RopeAttrs& a) {
  const auto dim = static_cast<double>(a.rotary_dim);
  const double low = std::max(std::floor(correction_dim(a.beta_fast, a)), 0.0);
  double high = std::min(std::ceil(correction_dim(a.beta_slow, a)), dim - 1.0);
  if (low == high) high += 0.001;
  std::vector<float> out = powers(a.theta, a.rotary_dim);
  for (size_t i = 0; i < out.size(); ++i) {
    const float extrapolated = 1.0f / out[i];
    const float interpolated = 1.0f / (static_cast<float>(a.factor) * out[i]);
    const float ramp =
        (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low);
    const float keep = 1.0f - std::clamp(ramp, 0.0f, 1.0f);
    out[i] = interpolated * (1.0f - keep) + extrapolated * keep;
  }
  return out;
}

std::vector<float> dynamic(const RopeAttrs& a, int64_t length) {
  const auto dim = static_cast<double>(a.rotary_dim);
  const double tokens = std::max(static_cast<double>(length), a.max_position);
  const double stretch = a.factor * tokens / a.max_position - (a.factor - 1.0);
  return plain(a.theta * std::pow(stretch, dim / (dim - 2.0)), a.rotary_dim);
}

void check(const RopeAttrs& a) {
  const auto refuse = [](const std::string& expected, double found) {
    throw Error(MOPT_INVALID_ARGUMENT, "rope: expected " + expected + ", found " +
                                           std::to_string(found) + "; see the model's config.json");
  };
  if (a.rotary_dim < 0 || a.rotary_dim % 2 != 0) {
    refuse("an even rotary_dim", static_cast<double>(a.rotary_dim));
  }
  if (!(a.theta > 0.0)) refuse("a positive theta", a.theta);
  if (a.scaling != RopeScaling::kNone && !(a.factor > 0.0)) refuse("a positive factor", a.factor);
  const bool uses_original = a.scaling == RopeScaling::kLlama3 || a.scaling == RopeScaling::kYarn;
  if (uses_original && !(a.original_max_position > 0.0)) {
    refuse("a positive original_max_position", a.original_max_position);
  }
  if (a.scaling == RopeScaling::kLlama3 && a.low_freq_factor == a.high_freq_factor) {
    refuse("a high_freq_factor other than the low one", a.high_freq_factor);
  }
  if (a.scaling == RopeScaling::kDynamic && !(a.max_position > 0.0)) {
    refuse("a positive max_position", a.max_position);
  }
}

}  // namespace

RopeScaling rope_scaling(std::string_view name) {
  if (name == "none") return RopeScaling::kNone;
  if (name == "linear") return RopeScaling::kLinear;
  if (name == "llama3") return RopeScaling::kLlama3;
  if (name == "yarn") return RopeScaling::kYarn;
  if (name == "dynamic") return RopeScaling::kDynamic;
  throw Error(MOPT_UNSUPPORTED,
              "expected the rope scaling none, linear, llama3, yarn or dynamic, found '" +
                  std::string(name) + "'");
}

std::vector<float> rope_frequencies(const RopeAttrs& attrs, int64_t length) {
  switch (attrs.scaling) {
    case RopeScaling::kLinear:
      return linear(attrs);
    case RopeScaling::kLlama3:
      return llama3(attrs);
    case RopeScaling::kYarn:
      return yarn(attrs);
    case RopeScaling::kDynamic:
      return dynamic(attrs, length);
    case RopeScaling::kNone:
      break;
  }
  return plain(attrs.theta, attrs.rotary_dim);
}

RopeTable make_rope_table(const RopeAttrs& attrs) {
  check(attrs);
  RopeTable table{attrs, rope_frequencies(attrs, 0), 1.0f};
  if (attrs.scaling == RopeScaling::kYarn) {
    const double usual = attrs.factor <= 1.0 ? 1.0 : 0.1 * std::log(attrs.factor) + 1.0;
    table.attention_factor = static_cast<float>(attrs.attention_factor.value_or(usual));
  }
  return table;
}

RopeAngles rope_angles(const RopeTable& table, const View& positions, DLDataType dtype) {
  require(same(positions.dtype, kI64), "rope", "positions in i64", positions);
  const int64_t n = positions.elements(), half = static_cast<int64_t>(table.inv_freq.size());
  const int64_t* at = positions.as<int64_t>();
  const int64_t length = n == 0 ? 0 : *std::max_element(at, at + n) + 1;
  const bool longer = table.attrs.scaling == RopeScaling::kDynamic &&
                      static_cast<double>(length) > table.attrs.max_position;
  const std::vector<float> inv_freq =
      longer ? rope_frequencies(table.attrs, length) : table.inv_freq;
  RopeAngles angles{half, std::vector<float>(static_cast<size_t>(n * half)), {}};
  angles.sin.resize(angles.cos.size());
  const bool half_precision = same(dtype, kBf16);
  for_each(n, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * half; i < end * half; ++i) {
      const float angle =
          static_cast<float>(at[i / half]) * inv_freq[static_cast<size_t>(i % half)];
      const float cos = std::cos(angle) * table.attention_factor;
      const float sin = std::sin(angle) * table.attention_factor;
      angles.cos[static_cast<size_t>(i)] = half_precision ? bf16::round(cos) : cos;
      angles.sin[static_cast<size_t>(i)] = half_precision ? bf16::round(sin) : sin;
    }
  });
  return angles;
}

}  // namespace mopt::compute
