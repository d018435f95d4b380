#include "tests/golden_run/decode.hpp"

#include <cmath>

#include "tests/golden_run/checkpoint.hpp"

namespace mopt::test {
namespace {

constexpr int64_t kTile = 128, kInt4Group = 128, kNvfp4Group = 16;

struct Matrix {
  int64_t rows, columns;
  std::vector<float> values;
  Matrix(int64_t r, int64_t c) : rows(r), columns(c), values(static_cast<size_t>(r * c)) {}
  float& at(int64_t r, int64_t c) { return values[static_cast<size_t>(r * columns + c)]; }
};

int sign_extended(int nibble) {
  return nibble >= 8 ? nibble - 16 : nibble;
}

// One scale for all, one per row, or [R,1,C,1] tiles of 128 x 128.
float scale_at(const StoredTensor& scale, const std::vector<float>& values, int64_t r, int64_t c) {
  if (scale.shape.empty()) return values[0];
  if (scale.shape.size() == 1) return values[static_cast<size_t>(r)];
  return values[static_cast<size_t>(r / kTile * scale.shape[2] + c / kTile)];
}

Matrix decode_bytes(const StoredTensor& weight, const StoredTensor& scale) {
  Matrix out(weight.shape[0], weight.shape[1]);
  const std::vector<float> scales = scale.as<float>();
  const bool integer = weight.dtype == "I8";
  for (int64_t r = 0; r < out.rows; ++r) {
    for (int64_t c = 0; c < out.columns; ++c) {
      const auto code =
          static_cast<uint8_t>(weight.bytes[static_cast<size_t>(r * out.columns + c)]);
      const float value =
          integer ? static_cast<float>(static_cast<int8_t>(code)) : decode_e4m3(code);
      out.at(r, c) = value * scale_at(scale, scales, r, c);
    }
  }
  return out;
}

// Two output rows in a byte, the even one in the low half; F32 scales [rows, columns/128].
Matrix decode_int4(const StoredTensor& weight, const StoredTensor& scale) {
  Matrix out(2 * weight.shape[0], weight.shape[1]);
  const std::vector<float> scales = scale.as<float>();
  const int64_t groups = scale.shape[1];
  if (groups != (out.columns + kInt4Group - 1) / kInt4Group) {
    throw std::runtime_error("int4: scales of another group size");
  }
  for (int64_t r = 0; r < out.rows; ++r) {
    for (int64_t c = 0; c < out.columns; ++c) {
      const auto byte =
          static_cast<uint8_t>(weight.bytes[static_cast<size_t>(r / 2 * out.columns + c)]);
      const int code = sign_extended(r % 2 == 0 ? byte & 15 : byte >> 4);
      out.at(r, c) =
          static_cast<float>(code) * scales[static_cast<size_t>(r * groups + c / kInt4Group)];
    }
  }
  return out;
}

// Two columns in a byte, the even one in the low half; E4M3 scales [rows, columns/16] and one F32.
Matrix decode_nvfp4(const StoredTensor& weight, const StoredTensor& scale, float global) {
  Matrix out(weight.shape[0], 2 * weight.shape[1]);
  const int64_t groups = scale.shape[1];
  for (int64_t r = 0; r < out.rows; ++r) {
    for (int64_t c = 0; c < out.columns; ++c) {
      const auto byte =
          static_cast<uint8_t>(weight.bytes[static_cast<size_t>((r * out.columns + c) / 2)]);
      const auto block =
          static_cast<uint8_t>(scale.bytes[static_cast<size_t>(r * groups + c / kNvfp4Group)]);
      const uint8_t code = c % 2 == 0 ? byte & 15 : byte >> 4;
      out.at(r, c) = decode_e2m1(code) * (decode_e4m3(block) * global);
    }
  }
  return out;
}

Matrix decode_weight(const Tensors& all, const std::string& module) {
  const StoredTensor& weight = all.at(module + ".weight");
  const StoredTensor& scale = all.at(module + ".weight_scale");
  if (weight.dtype == "I8" || weight.dtype == "F8_E4M3") return decode_bytes(weight, scale);
  if (weight.dtype == "U8" && scale.dtype == "F32") return decode_int4(weight, scale);
  if (weight.dtype == "U8" && scale.dtype == "F8_E4M3") {
    return decode_nvfp4(weight, scale, all.at(module + ".weight_scale_2").as<float>()[0]);
  }
  throw std::runtime_error(module + ": unknown payload " + weight.dtype + ", " + scale.dtype);
}

}  // namespace

float decode_e4m3(uint8_t code) {
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  const float sign = code & 0x80 ? -1.0f : 1.0f;
  if (exponent == 15 && mantissa == 7) return NAN;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -9);
  return sign * std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
}

float decode_e2m1(uint8_t code) {
  const int exponent = code >> 1 & 3, mantissa = code & 1;
  const float sign = code & 8 ? -1.0f : 1.0f;
  if (exponent == 0) return sign * 0.5f * static_cast<float>(mantissa);
  return sign * std::ldexp(static_cast<float>(2 + mantissa), exponent - 2);
}

Tensors decode_export(const Tensors& written) {
  Tensors out;
  for (const auto& [name, tensor] : written) {
    if (name.ends_with(".weight_scale") || name.ends_with(".weight_scale_2")) continue;
    const std::string module = name.substr(0, name.rfind('.'));
    if (!name.ends_with(".weight") || !written.contains(module + ".weight_scale")) {
      out[name] = tensor;
      continue;
    }
    const Matrix weight = decode_weight(written, module);
    out[name] = f32_tensor({weight.rows, weight.columns}, weight.values);
  }
  return out;
}

}  // namespace mopt::test
