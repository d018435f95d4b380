#include <algorithm>
#include <cmath>

#include "mopt/numeric/bf16.hpp"
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
struct Coded {
  std::string scales, codes;
};

// x by the kernel or by the reference, in blocks of 16.
Coded coded(FakeHost* host, const Blob& x, float global) {
  const int64_t count = elements(x.shape) / 16;
  const nvfp4::Blocks blocks{count, 16, global};
  Blob scales = blob(kU8, {count}), codes = blob(kU8, {count * 8});
  if (host == nullptr) {
    const TensorRef ref = x.ref();
    nvfp4::reference::encode(reals(*ref), blocks, reinterpret_cast<uint8_t*>(scales.bytes.data()),
                             reinterpret_cast<uint8_t*>(codes.bytes.data()));
    return {scales.bytes, codes.bytes};
  }
  Placed in(*host, x), global_out(*host, blob(kF32, {1})), to_scales(*host, scales),
      to_codes(*host, codes);
  nvfp4::device::encode(Exec(host->exec()), reals(*in.get()), blocks,
                        {data<float>(*global_out.get()), data<uint8_t>(*to_scales.get()),
                         data<uint8_t>(*to_codes.get())});
  return {to_scales.read().bytes, to_codes.read().bytes};
}

// Blocks of 16 of which each begins with `range`.
template <class T>
Blob with_range(DLDataType dtype, const std::vector<T>& values, T range) {
  std::vector<T> all;
  for (const T x : values) {
    if (all.size() % 16 == 0) all.push_back(range);
    all.push_back(x);
  }
  all.resize((all.size() + 15) / 16 * 16, range);
  return blob(dtype, {static_cast<int64_t>(all.size())},
              std::string(reinterpret_cast<const char*>(all.data()), all.size() * sizeof(T)));
}

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

TEST_CASE("nvfp4 kernels take a tie to the even code, and a number next to it to the nearer one") {
  FakeHost host(FakeHost::On::kEmulatedCuda);
  std::vector<float> x;
  for (const float tie : {0.0f, 0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f}) {
    float near = tie;
    for (int i = 0; i < 40; ++i, near = std::nextafter(near, 9.0f)) {
      const float below = 2 * tie - near;
      x.insert(x.end(), {near, -near, below, -below});
    }
  }
  // The block's scale is 1 where the global one is: quotients are the numbers themselves.
  for (const float global : {1.0f, 0x1p-4f, 0x1p-20f}) {
    std::vector<float> scaled = x;
    for (float& value : scaled)
      value *= global;
    const Blob weight = with_range(kF32, scaled, 6.0f * global);
    CHECK(coded(&host, weight, global).scales == std::string(weight.shape[0] / 16, '\x38'));
    CHECK(coded(&host, weight, global).codes == coded(nullptr, weight, global).codes);
  }
}

TEST_CASE("nvfp4 kernels emit what the reference emits for every scale and every bf16 mantissa") {
  FakeHost host(FakeHost::On::kEmulatedCuda);
  for (const float global : {0.000137f, 0.0123f, 0x1.8p-9f, 1.0f / 2688, 0.9f, 1e-24f}) {
    CAPTURE(global);
    int different = 0;
    for (int code = 1; code < 0x7F; ++code) {
      const float range = 6.0f * global * e4m3::decode(static_cast<uint8_t>(code));
      const auto most = static_cast<uint16_t>(bf16::encode(range));
      std::vector<uint16_t> x;
      for (int below = 0; below < 6 * 128; ++below) {
        if (most <= below) break;
        x.push_back(static_cast<uint16_t>((most - below) | (below * 5 & 8) << 12));
      }
      const Blob weight = with_range(kBf16, x, most);
      const Coded got = coded(&host, weight, global), want = coded(nullptr, weight, global);
      different += got.scales != want.scales || got.codes != want.codes;
    }
    CHECK(different == 0);
  }
}

TEST_CASE("nvfp4 kernels keep the sign of the smallest numbers, and none of zeros") {
  FakeHost host(FakeHost::On::kEmulatedCuda);
  const std::vector<uint16_t> x = {0x8001, 0x0001, 0x8000, 0x0000, 0x8080, 0x807F, 0x0080};
  for (const uint16_t range : {uint16_t{0x3E00}, uint16_t{0x4000}, uint16_t{0x4480}}) {
    CAPTURE(range);
    const Blob weight = with_range(kBf16, x, range);
    const float global = bf16::decode(range) / 2688.0f;
    CHECK(coded(&host, weight, global).codes == coded(nullptr, weight, global).codes);
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
