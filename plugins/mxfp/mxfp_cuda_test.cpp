#include <cmath>

#include "mopt/numeric/e2m1.hpp"
#include "mopt/numeric/e8m0.hpp"
#include "tests/device_codec.hpp"

namespace mopt::test {
namespace {

const mopt_component& component(const char* name) {
  return component_named(*mopt_plugin_entry_v0(), name);
}

}  // namespace

TEST_CASE("mxfp kernels emit what the CPU emits") {
  for (const char* name : {"mxfp4", "mxfp8"}) {
    check_weights_on_device(
        component(name), {},
        {{3, 32}, {5, 96}, {1, 4128}, {33, 64}, {7, 160, 2}, {40, 96, 4}, {0, 64}});
  }
}

TEST_CASE("mxfp kernels equal ModelOpt's bytes") {
  for (const std::string name : {"mxfp4", "mxfp8"}) {
    check_golden_on_device(component(name.c_str()), {}, "modelopt_" + name,
                           {{"payload", "weight"}, {"scale", "weight_scale"}});
  }
}

TEST_CASE("mxfp kernels round inputs as the CPU does") {
  for (const char* name : {"mxfp4", "mxfp8"}) {
    check_inputs_on_device(component(name), {}, {{3, 224}, {4, 4128}, {3, 64, 2}, {1, 32}});
  }
}

TEST_CASE("mxfp4 kernels take a tie toward zero, and a number next to it to the nearer code") {
  FakeHost host(FakeHost::On::kEmulatedCuda), cpu_host;
  const Quantizer device(host, component("mxfp4")), cpu(cpu_host, component("mxfp4"));
  const float ties[] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f, 0.0f};
  std::vector<float> x(32 * 6, 6.0f);  // the first of each block fixes its scale at 1
  for (size_t block = 0; block < 6; ++block) {
    for (size_t i = 0; i < 8; ++i) {
      const float near[] = {ties[i], std::nextafter(ties[i], 9.0f), std::nextafter(ties[i], -9.0f)};
      x[block * 32 + 1 + i] = block % 2 == 0 ? near[block / 2] : -near[block / 2];
    }
  }
  const Blob weight =
      blob(kF32, {6, 32}, std::string(reinterpret_cast<const char*>(x.data()), x.size() * 4));
  const auto got = device.quantize(weight_case(weight)), want = cpu.quantize(weight_case(weight));
  CHECK(got.at("scale").bytes == std::string(6, '\x7F'));
  CHECK(got.at("payload").bytes == want.at("payload").bytes);
}

TEST_CASE("mxfp kernels emit what the CPU emits for every bf16 number at every scale") {
  FakeHost host(FakeHost::On::kEmulatedCuda), cpu_host;
  for (const char* name : {"mxfp4", "mxfp8"}) {
    const Quantizer device(host, component(name)), cpu(cpu_host, component(name));
    // Ranges from the smallest to the largest number; those around 6 * 2^2 change the kernel's way.
    for (const uint32_t range : {0x0001u, 0x00C0u, 0x1234u, 0x3EC0u, 0x40C0u, 0x41C0u, 0x41C1u,
                                 0x4240u, 0x477Fu, 0x7F7Fu}) {
      CAPTURE(range);
      std::vector<uint16_t> x;
      for (uint32_t magnitude = 0; magnitude <= range; ++magnitude) {
        if (x.size() % 32 == 0) x.push_back(static_cast<uint16_t>(range));
        x.push_back(static_cast<uint16_t>(magnitude | (magnitude * 7 & 8) << 12));
      }
      x.resize((x.size() + 31) / 32 * 32);
      const Blob weight =
          blob(kBf16, {static_cast<int64_t>(x.size()) / 32, 32},
               std::string(reinterpret_cast<const char*>(x.data()), x.size() * sizeof(x[0])));
      const auto got = device.quantize(weight_case(weight)),
                 want = cpu.quantize(weight_case(weight));
      CHECK(got.at("scale").bytes == want.at("scale").bytes);
      CHECK(got.at("payload").bytes == want.at("payload").bytes);
    }
  }
}

TEST_CASE("mxfp kernels decode every scale") {
  FakeHost host(FakeHost::On::kEmulatedCuda);
  const Quantizer device(host, component("mxfp4"));
  std::string codes, scales;
  for (int scale = 0; scale < 256; ++scale) {
    codes += "\x10\x32\x54\x76\x98\xBA\xDC\xFE\x10\x32\x54\x76\x98\xBA\xDC\xFE";
    scales += static_cast<char>(scale);
  }
  const auto got = device.dequantize(
      {{"payload", blob(kE2m1, {256, 32}, codes)}, {"scale", blob(kE8m0, {256, 1}, scales)}}, 256,
      32);
  const auto values = got.as<float>();
  int wrong = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const float want = e2m1::decode(i % 16) * e8m0::decode(static_cast<uint8_t>(i / 32));
    wrong += std::isnan(want) ? !std::isnan(values[i]) : values[i] != want;
  }
  CHECK(values.size() == 256 * 32);
  CHECK(wrong == 0);
}

}  // namespace mopt::test
