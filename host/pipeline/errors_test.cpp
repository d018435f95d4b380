#include "host/pipeline/errors.hpp"

#include <bit>
#include <cmath>
#include <random>

#include "host/compute/parallel.hpp"
#include "host/pipeline/errors_on_device.hpp"
#include "host/pipeline/pipeline_test.hpp"
#include "host/plan/cost.hpp"
#include "tests/emulated_device/recording_kernels.hpp"

namespace mopt::pipeline::test {
namespace {

// Rows enough for three pieces, the last of which is cut off inside a tile of 128 rows.
constexpr int64_t kRows = 300, kCols = 8192;
static_assert(128 * kCols * sizeof(float) > plan::kCacheBytes);
static_assert(2 * 128 * kCols * sizeof(float) > plan::kWindowBytes);

struct FormatName {
  std::string name, choice;  // of granularity; of nvfp4's math
};

// Values of both signs over six binary orders, larger from row to row so that scales differ.
std::string random_values(int64_t rows, int64_t cols, const std::string& dtype) {
  std::mt19937 random(7);
  std::string bytes;
  for (int64_t i = 0; i < rows * cols; ++i) {
    const float fraction = static_cast<float>(random() % 64 + 64) / 128.0f;
    const float sign = random() % 2 == 0 ? 1.0f : -1.0f;
    const int order = static_cast<int>(random() % 6) - 8 + static_cast<int>(i / cols / 100);
    const float x = std::ldexp(sign * fraction, order);
    const auto bits = std::bit_cast<uint32_t>(x);
    const uint16_t f16 = static_cast<uint16_t>(
        (bits >> 16 & 0x8000) | ((bits >> 23 & 255) - 112) << 10 | (bits >> 13 & 1023));
    const uint16_t narrow = dtype == "F16" ? f16 : static_cast<uint16_t>(bits >> 16);
    if (dtype == "F32")
      bytes.append(reinterpret_cast<const char*>(&bits), 4);
    else
      bytes.append(reinterpret_cast<const char*>(&narrow), 2);
  }
  return bytes;
}

// A weight, its parts in a format, and what these stand for by the format's own formula.
struct Case : Fixture {
  plan::Plan plan;
  plan::Item item;
  std::vector<NamedTensor> parts;
  std::string bytes;
  Doubles weight, dequantized;
  DLDataType dtype{};

  int add_format(const FormatName& f) {
    auto format = std::make_shared<plan::Format>();
    // As the host gives them: all options, with their defaults.
    mopt_value text{}, block{};
    text.type = MOPT_STR;
    text.as.s = str(f.choice);
    block.type = MOPT_INT;
    block.as.i = 16;
    std::vector<mopt_setting> settings{{str("granularity"), text}};
    if (f.name == "nvfp4") settings = {{str("block"), block}, {str("math"), text}};
    format->quantizer =
        Quantizer(registry, registry.find(MOPT_QUANTIZER_INTERFACE, f.name), settings);
    format->weight = format->quantizer.scheme(MOPT_OPERAND_WEIGHT);
    format->input = format->quantizer.scheme(MOPT_OPERAND_INPUT);
    plan.formats.push_back(std::move(format));
    return static_cast<int>(plan.formats.size()) - 1;
  }
  TensorRef original() const { return {bytes.data(), dtype, {item.shape[0], item.shape[1]}}; }
  QuantizedWeight quantized() const { return {plan, item, registry.services().cpu(), parts}; }

  void make(const FormatName& format, const std::string& type, int64_t rows, int64_t cols) {
    plan = {};
    item = {};
    item.name = "w";
    item.shape = {rows, cols};
    item.weight = add_format(format);
    bytes = random_values(rows, cols, type);
    dtype = type == "F32" ? kF32 : type == "F16" ? kF16 : kBf16;
    item.dtype = dtype;
    weight = decode(type, bytes);
    quantize(format);
  }
  void quantize(const FormatName& format) {
    const TensorRef tensor = original();
    const auto absmax = static_cast<float>(largest(weight));
    const mopt_weight_job job{
        sizeof(mopt_weight_job), 0, str(item.name), tensor.get(), absmax, absmax};
    parts = plan.formats[0]->quantizer.quantize(registry.services().cpu(), job);
    dequantized = format.name == "nvfp4" ? from_nvfp4() : from_fp8();
  }
  const Tensor& part(const std::string& role) const {
    for (const NamedTensor& p : parts) {
      if (p.name == role) return p.tensor;
    }
    FAIL("no part " << role);
    return parts[0].tensor;
  }
  Doubles from_fp8() const {
    const auto cols = static_cast<size_t>(item.shape[1]), tiles = (cols + 127) / 128;
    const Tensor& scale = part(MOPT_ROLE_SCALE);
    const auto scales = static_cast<size_t>(elements(*scale)), rows = weight.size() / cols;
    Doubles out(weight.size());
    for (size_t i = 0; i < out.size(); ++i) {
      const size_t row = i / cols, tile = row / 128 * tiles + i % cols / 128;
      const size_t at = scales == 1 ? 0 : scales == rows ? row : tile;
      out[i] = e4m3(part(MOPT_ROLE_PAYLOAD).data<uint8_t>()[i]) *
               static_cast<double>(scale.data<float>()[at]);
    }
    return out;
  }
  Doubles from_nvfp4() const {
    Doubles out = e2m1_pairs({part(MOPT_ROLE_PAYLOAD).data<char>(), weight.size() / 2});
    const double global = *part(MOPT_ROLE_GLOBAL_SCALE).data<float>();
    for (size_t i = 0; i < out.size(); ++i)
      out[i] *= e4m3(part(MOPT_ROLE_SCALE).data<uint8_t>()[i / 16]) * global;
    return out;
  }
};

// ||got - want|| / ||want||.
double relative(const Doubles& got, const Doubles& want) {
  double difference = 0, original = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    difference += (got[i] - want[i]) * (got[i] - want[i]);
    original += want[i] * want[i];
  }
  return std::sqrt(difference / original);
}

// [n, rows] of x [n, cols] and w [rows, cols].
Doubles outputs(const Doubles& x, const Doubles& w, size_t cols) {
  Doubles y;
  for (size_t t = 0; t < x.size(); t += cols) {
    for (size_t r = 0; r < w.size(); r += cols) {
      double sum = 0;
      for (size_t c = 0; c < cols; ++c)
        sum += x[t + c] * w[r + c];
      y.push_back(sum);
    }
  }
  return y;
}

// x / scale to the nearest of all codes, a tie to the even one.
double round_trip(double x, double scale) {
  int best = 0;
  for (int code = 0; code < 256; ++code) {
    if ((code & 127) == 127) continue;
    const double off = std::fabs(e4m3(static_cast<uint8_t>(code)) - x / scale);
    const double least = std::fabs(e4m3(static_cast<uint8_t>(best)) - x / scale);
    if (off < least || (off == least && code % 2 == 0)) best = code;
  }
  return e4m3(static_cast<uint8_t>(best)) * scale;
}

const FormatName kFormats[] = {
    {"fp8", "tensor"}, {"fp8", "channel"}, {"fp8", "block"}, {"nvfp4", "fp4"}};

TEST_CASE_FIXTURE(Case,
                  "the error of a weight is that of its parts, whichever pieces it comes in") {
  for (const FormatName& format : kFormats) {
    for (const std::string type : {"BF16", "F16", "F32"}) {
      if (type != "BF16" && &format != &kFormats[2]) continue;
      CAPTURE(format.name);
      CAPTURE(type);
      make(format, type, kRows, kCols);
      const double want = relative(dequantized, weight);
      CHECK(want > 0.01);
      CHECK(weight_error(quantized(), *original()) == doctest::Approx(want).epsilon(1e-5));
    }
  }
}

TEST_CASE_FIXTURE(Case, "the error of a weight does not depend on the number of threads") {
  make(kFormats[1], "BF16", kRows, kCols);
  const TensorRef tensor = original();
  double one = 0, many = 0;
  compute::Threads(1).run([&] { one = weight_error(quantized(), *tensor); });
  compute::Threads(4).run([&] { many = weight_error(quantized(), *tensor); });
  CHECK(one == many);
}

TEST_CASE_FIXTURE(Case, "a zero weight has no error when it stays zero, else an infinite one") {
  make(kFormats[0], "F32", 4, 32);
  bytes.assign(bytes.size(), '\0');
  const TensorRef zero = original();
  CHECK(std::isinf(weight_error(quantized(), *zero)));
  weight.assign(weight.size(), 0);
  quantize(kFormats[0]);
  CHECK(weight_error(quantized(), *zero) == 0);
}

TEST_CASE_FIXTURE(Case,
                  "the error of an output is that of the products, whichever pieces they have") {
  const std::string rows = random_values(2, kCols, "F32");
  const TensorRef x(rows.data(), kF32, {2, kCols});
  const Doubles values = decode("F32", rows);
  for (const FormatName& format : kFormats) {
    CAPTURE(format.name);
    make(format, &format == &kFormats[1] ? "F16" : "F32", kRows, kCols);
    const double want =
        relative(outputs(values, dequantized, kCols), outputs(values, weight, kCols));
    CHECK(want > 0.01);
    CHECK(output_error(quantized(), *original(), *x, {}) == doctest::Approx(want).epsilon(1e-3));
  }
}

TEST_CASE_FIXTURE(Case, "the products of an output's error are foreseen in its pieces") {
  compute::test::EmulatedDevice device({.kernels = &compute::test::recording_kernels()});
  const auto queue = device.make_queue("test");
  compute::Options options;
  options.queue = queue.get();
  plan = {};
  item = {};
  item.shape = {20000, 4096};  // 64 MiB of bf16 are 8192 rows
  item.weight = add_format(kFormats[0]);
  compute::test::take_recorded();
  foresee_output_error(quantized(), kBf16, 64, options);
  const auto piece = [](const std::string& rows) {
    return "linear bf16 [64, 4096] bf16 [" + rows + ", 4096] bf16 [64, " + rows + "]";
  };
  const auto [asked, run] = compute::test::take_recorded();
  CHECK(asked == std::vector<std::string>{piece("8192"), piece("8192"), piece("3616")});
  CHECK(run.empty());
}

TEST_CASE_FIXTURE(Case, "an input that engines quantize counts as they see it") {
  const std::string rows = random_values(5, 256, "F32");
  const TensorRef x(rows.data(), kF32, {5, 256});
  const Doubles values = decode("F32", rows);
  make(kFormats[0], "F32", 40, 256);
  const Doubles want = outputs(values, weight, 256);
  for (const FormatName& input : {FormatName{"fp8", "tensor"}, FormatName{"fp8", "token"}}) {
    CAPTURE(input.choice);
    const bool token = input.choice == "token";
    item.input = add_format(input);
    // Half of the values lie beyond the stored scale's range.
    const std::optional<float> stored = token ? std::nullopt : std::optional(std::ldexp(1.0f, -14));
    Doubles seen(values.size());
    for (size_t i = 0; i < seen.size(); ++i) {
      const auto row = values.begin() + static_cast<std::ptrdiff_t>(i / 256 * 256);
      const double scale = token ? largest(Doubles(row, row + 256)) / 448 : *stored;
      seen[i] = round_trip(values[i], scale);
    }
    const double error = relative(outputs(seen, dequantized, 256), want);
    CHECK(error > relative(outputs(values, dequantized, 256), want));
    CHECK(output_error(quantized(), *original(), *x, stored) ==
          doctest::Approx(error).epsilon(1e-3));
  }
}

TEST_CASE_FIXTURE(Case, "a bfloat16 model is measured in its own arithmetic") {
  const std::string rows = random_values(5, 256, "BF16");
  const TensorRef x(rows.data(), kBf16, {5, 256});
  const Doubles values = decode("BF16", rows);
  make(kFormats[3], "BF16", 200, 256);
  const double want = relative(outputs(values, dequantized, 256), outputs(values, weight, 256));
  // Both outputs and the dequantized weight are rounded to 8 bits, the errors have 3.
  CHECK(output_error(quantized(), *original(), *x, {}) == doctest::Approx(want).epsilon(0.02));
}

}  // namespace
}  // namespace mopt::pipeline::test
