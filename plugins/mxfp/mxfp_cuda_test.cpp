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

}  // namespace mopt::test
