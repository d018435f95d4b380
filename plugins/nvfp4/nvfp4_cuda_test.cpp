#include <algorithm>

#include "mopt/numeric/e2m1.hpp"
#include "mopt/numeric/e4m3.hpp"
#include "nvfp4_cuda.hpp"
#include "tests/device_codec.hpp"

namespace mopt::test {
namespace {

const mopt_component& component() {
  return component_named(*mopt_plugin_entry_v0(), "nvfp4");
}

const std::map<std::string, std::string> kNames = {
    {"payload", "weight"}, {"scale", "weight_scale"}, {"global_scale", "weight_scale_2"}};
const std::vector<Option> kWide = {{"block", int64_t{32}}, {"math", std::string("fp8")}};

}  // namespace

TEST_CASE("nvfp4 kernels emit what the CPU emits, in blocks of 16 and of 32") {
  const std::vector<Shape> shapes = {{3, 32},     {5, 96},     {1, 4128}, {33, 64},
                                     {7, 160, 2}, {40, 96, 4}, {0, 64}};
  check_weights_on_device(component(), {}, shapes);
  check_weights_on_device(component(), kWide, shapes);
  check_weights_on_device(component(), {}, {{3, 16}, {1, 48}, {11, 80}});
}

TEST_CASE("nvfp4 kernels equal ModelOpt's bytes") {
  check_golden_on_device(component(), {}, "modelopt_nvfp4", kNames);
  check_golden_on_device(component(), {}, "modelopt_nvfp4_fp32_source", kNames, ".float32");
  check_golden_on_device(component(), kWide, "modelopt_w4a8_nvfp4_fp8", kNames);
}

TEST_CASE("nvfp4 kernels round inputs and K and V as the CPU does") {
  check_inputs_on_device(component(), {}, {{3, 208}, {4, 4112}, {3, 64, 2}, {1, 16}});
}

TEST_CASE("nvfp4 kernels equal the reference when the global scale is clipped, raised or tiny") {
  FakeHost host(FakeHost::On::kEmulatedCuda);
  for (const DLDataType dtype : kSourceTypes) {
    const Blob x = random_blob(dtype, {64, 32}, 21);
    const float range = absmax(x) / 2688.0f;
    for (const float global : {range / 100, range * 1.3f, range * 1e6f, 1e-44f, 1e-30f, 3e5f}) {
      CAPTURE(dtype_name(dtype));
      CAPTURE(global);
      const TensorRef ref = x.ref();
      const int64_t count = 128;
      Blob scales = blob(kU8, {count}), codes = blob(kU8, {count * 8}),
           values = blob(dtype, x.shape);
      const nvfp4::Blocks blocks{count, 16, global};
      nvfp4::reference::encode(reals(*ref), blocks, reinterpret_cast<uint8_t*>(scales.bytes.data()),
                               reinterpret_cast<uint8_t*>(codes.bytes.data()));
      TensorRef values_ref = values.ref();
      nvfp4::reference::round_trip(reals(*ref), blocks, reals_out(*values_ref.get()));

      Placed in(host, x), got_global(host, blob(kF32, {1})), got_scales(host, blob(kU8, {count})),
          got_codes(host, blob(kU8, {count * 8})), got_values(host, blob(dtype, x.shape));
      const Exec exec(host.exec());
      nvfp4::device::encode(exec, reals(*in.get()), blocks,
                            {data<float>(*got_global.get()), data<uint8_t>(*got_scales.get()),
                             data<uint8_t>(*got_codes.get())});
      nvfp4::device::round_trip(exec, reals(*in.get()), blocks, reals_out(*got_values.get()));
      CHECK(got_global.read().as<float>()[0] == global);
      CHECK(got_scales.read().bytes == scales.bytes);
      CHECK(got_codes.read().bytes == codes.bytes);
      CHECK(same_numbers(got_values.read(), values));
    }
  }
}

TEST_CASE(
    "nvfp4 kernels decode every code with every scale as the product that the format states") {
  FakeHost host(FakeHost::On::kEmulatedCuda);
  const Quantizer quantizer(host, component());
  const std::string nibbles = "\x10\x32\x54\x76\x98\xBA\xDC\xFE";
  std::string codes, scales;
  for (int scale = 0; scale < 0x7F; ++scale) {
    codes += nibbles;
    scales += static_cast<char>(scale);
  }
  const float global = 0.3f;
  const std::string global_bytes(reinterpret_cast<const char*>(&global), 4);
  const auto got = quantizer.dequantize({{"payload", blob(kE2m1, {127, 16}, codes)},
                                         {"scale", blob(kE4m3, {127, 1}, scales)},
                                         {"global_scale", blob(kF32, {}, global_bytes)}},
                                        127, 16);
  const auto values = got.as<float>();
  int wrong = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const float step = e4m3::decode(static_cast<uint8_t>(i / 16)) * global;
    wrong += values[i] != e2m1::decode(static_cast<uint8_t>(i % 16)) * step;
  }
  CHECK(wrong == 0);
}

}  // namespace mopt::test
