#include "tests/device_codec.hpp"

#include "mopt/numeric/e4m3.hpp"
#include "tests/cuda_emulation_memory.hpp"

namespace mopt::test {
namespace {

enum class Content { kRandom, kZero, kTiny, kHuge, kTies, kOneRow };
constexpr Content kContents[] = {Content::kRandom, Content::kZero, Content::kTiny,
                                 Content::kHuge,   Content::kTies, Content::kOneRow};

float value_at(Content content, int64_t i, int64_t cols, float random, float largest) {
  switch (content) {
    case Content::kZero:
      return i % 3 == 0 ? -0.0f : 0.0f;
    case Content::kTiny:  // subnormal numbers of f32 and bf16, and at times of f16
      return std::ldexp(random, i % 5 == 0 ? -16 : -130);
    case Content::kHuge:
      return i % 7 == 0 ? std::copysign(largest, random) : random;
    case Content::kTies:  // with a range of 448 all scales are 1, and quotients fall between codes
      return i % 29 == 0 ? 448.0f : static_cast<float>(i % 1025 - 512) / 16.0f;
    case Content::kOneRow:
      return i / cols == 1 ? random * 1000 : random;
    default:
      return random;
  }
}

Blob matrix(DLDataType dtype, const Shape& shape, Content content) {
  const auto seed = static_cast<uint32_t>(shape.rows * 131 + shape.cols);
  Blob out = random_blob(dtype, {shape.rows, shape.cols}, seed);
  TensorRef ref = out.ref();
  const float largest = same(dtype, kF16) ? 65504.0f : 3e38f;
  visit(reals_out(*ref.get()), [&](auto* p) {
    for (int64_t i = 0; i < elements(out.shape); ++i)
      put(value_at(content, i, shape.cols, to_float(p[i]), largest), p[i]);
  });
  return out;
}

void check_weight(FakeHost& host, const Quantizer& device, FakeHost& cpu_host, const Quantizer& cpu,
                  const WeightCase& weight) {
  const auto want = cpu.quantize(weight);
  const auto got = device.quantize(weight);
  REQUIRE(got.size() == want.size());
  for (const auto& entry : want) {
    const std::string& role = entry.first;
    CAPTURE(role);
    CHECK(got.at(role).bytes == entry.second.bytes);
  }
  CHECK(host.warnings == cpu_host.warnings);
  for (const DLDataType dtype : kSourceTypes) {
    const int64_t rows = weight.weight.shape[0], cols = weight.weight.shape[1];
    CHECK(same_numbers(device.dequantize(want, rows, cols, dtype),
                       cpu.dequantize(want, rows, cols, dtype)));
  }
}

// Numbers beyond the range.
Blob with_outliers(Blob x) {
  TensorRef ref = x.ref();
  visit(reals_out(*ref.get()), [&](auto* p) {
    for (int64_t i = 0; i < elements(x.shape); i += 37)
      put(i % 2 == 0 ? 1e4f : -3e4f, p[i]);
  });
  return x;
}

bool holds(const Quantizer& quantizer, mopt_operand operand) {
  try {
    quantizer.scheme(operand);
    return true;
  } catch (const Error&) {
    return false;
  }
}

std::vector<float> stored_scales(const Quantizer& quantizer, mopt_operand operand, float absmax) {
  try {
    return {quantizer.input_scale(operand, absmax), quantizer.input_scale(operand, absmax / 3)};
  } catch (const Error&) {
    return {};
  }
}

}  // namespace

bool same_numbers(const Blob& a, const Blob& b) {
  if (a.bytes == b.bytes) return true;
  const TensorRef left = a.ref(), right = b.ref();
  return visit(reals(*left), [&]<class T>(const T* p) {
    const auto* q = static_cast<const T*>(reals(*right).data);
    for (int64_t i = 0; i < elements(a.shape); ++i) {
      const float x = to_float(p[i]), y = to_float(q[i]);
      const bool equal = x == y && std::signbit(x) == std::signbit(y);
      if (!equal && !(std::isnan(x) && std::isnan(y))) return false;
    }
    return true;
  });
}

namespace {

struct Both {
  FakeHost& host;
  const Quantizer& device;
  FakeHost& cpu_host;
  const Quantizer& cpu;
};
// Calls fn with the same quantizer on the emulated device and on the CPU, for each shape.
template <class Fn>
void on_both(const mopt_component& component, const std::vector<Option>& options,
             const std::vector<Shape>& shapes, const Fn& fn) {
  for (const Shape& shape : shapes) {
    FakeHost host(FakeHost::On::kEmulatedCuda), cpu_host;
    host.shift = shape.shift;
    const Quantizer device(host, component, options), cpu(cpu_host, component, options);
    CAPTURE(shape.rows);
    CAPTURE(shape.cols);
    CAPTURE(shape.shift);
    fn(shape, Both{host, device, cpu_host, cpu});
  }
}

// Codes times scales, rounded once, are what quantize_input gives.
void check_codes_of_input(const Quantizer& quantizer, const Blob& x, const float* scale) {
  const auto [codes, scales] = quantizer.encode_input(x, scale);
  const auto factors = scales.as<float>();
  const int64_t cols = x.shape[1];
  Blob values = x;
  TensorRef ref = values.ref();
  visit(reals_out(*ref.get()), [&](auto* p) {
    for (int64_t i = 0; i < elements(x.shape); ++i) {
      const float factor = factors[factors.size() == 1 ? 0 : static_cast<size_t>(i / cols)];
      put(e4m3::decode(static_cast<uint8_t>(codes.bytes[static_cast<size_t>(i)])) * factor, p[i]);
    }
  });
  CHECK(same_numbers(values, quantizer.quantize_input(MOPT_OPERAND_INPUT, x, scale)));
}

// Inputs of each type that activations have, and the same with elements beyond their range.
template <class Fn>
void for_inputs(const Shape& shape, const Fn& fn) {
  for (const DLDataType dtype : {kBf16, kF32}) {
    const Blob ordinary = random_blob(dtype, {shape.rows, shape.cols}, 3);
    fn(ordinary, with_outliers(ordinary));
  }
}

}  // namespace

void check_weights_on_device(const mopt_component& component, const std::vector<Option>& options,
                             const std::vector<Shape>& shapes) {
  CHECK((component.flags & MOPT_SERVES_CUDA) != 0);
  on_both(component, options, shapes, [&](const Shape& shape, const Both& on) {
    for (const DLDataType dtype : kSourceTypes) {
      for (const Content content : kContents) {
        CAPTURE(dtype_name(dtype));
        CAPTURE(static_cast<int>(content));
        WeightCase weight = weight_case(matrix(dtype, shape, content));
        if (content == Content::kOneRow) weight.group_absmax *= 1.5f;
        check_weight(on.host, on.device, on.cpu_host, on.cpu, weight);
      }
    }
  });
}

void check_codes_of_inputs(const mopt_component& component, const std::vector<Option>& options,
                           const std::vector<Shape>& shapes) {
  REQUIRE((component.flags & MOPT_ENCODES_INPUTS) != 0);
  on_both(component, options, shapes, [&](const Shape& shape, const Both& on) {
    for_inputs(shape, [&](const Blob& ordinary, const Blob& outliers) {
      for (const Quantizer* quantizer : {&on.cpu, &on.device}) {
        check_codes_of_input(*quantizer, ordinary, nullptr);
        for (const float scale : stored_scales(on.cpu, MOPT_OPERAND_INPUT, absmax(ordinary)))
          check_codes_of_input(*quantizer, outliers, &scale);
      }
    });
  });
}

void check_inputs_on_device(const mopt_component& component, const std::vector<Option>& options,
                            const std::vector<Shape>& shapes) {
  on_both(component, options, shapes, [&](const Shape& shape, const Both& on) {
    for_inputs(shape, [&](const Blob& ordinary, const Blob& outliers) {
      for (const mopt_operand operand : {MOPT_OPERAND_INPUT, MOPT_OPERAND_KV}) {
        if (!holds(on.cpu, operand)) continue;
        CAPTURE(operand);
        CHECK(same_numbers(on.device.quantize_input(operand, ordinary, nullptr),
                           on.cpu.quantize_input(operand, ordinary, nullptr)));
        for (const float scale : stored_scales(on.cpu, operand, absmax(ordinary))) {
          CHECK(same_numbers(on.device.quantize_input(operand, outliers, &scale),
                             on.cpu.quantize_input(operand, outliers, &scale)));
        }
      }
    });
  });
}

void check_golden_on_device(const mopt_component& component, const std::vector<Option>& options,
                            const std::string& file,
                            const std::map<std::string, std::string>& names,
                            const std::string& suffix) {
  FakeHost host(FakeHost::On::kEmulatedCuda);
  const Quantizer quantizer(host, component, options);
  for (const CodecCase& c : codec_cases(file, suffix)) {
    if (c.zero()) continue;  // the original writes NaN for some formats
    CAPTURE(c.matrix);
    const auto got = quantizer.quantize(weight_case(c.input));
    for (const auto& [part, name] : names) {
      CAPTURE(name);
      CHECK(got.at(part).bytes == c.expected.at(name).bytes);
    }
    check_dequant(quantizer.dequantize(got, c.rows(), c.cols()), c.expected.at("dequant"));
  }
}

}  // namespace mopt::test
