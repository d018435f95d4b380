#include <limits>

#include "int8.hpp"
#include "tests/device_codec.hpp"

namespace mopt::test {
namespace {

const mopt_component& component() {
  return component_named(*mopt_plugin_entry_v0(), "int8");
}

}  // namespace

TEST_CASE("int8 kernels emit what the CPU emits, per row and per tensor") {
  const std::vector<Shape> shapes = {{3, 16}, {2, 4112},    {130, 144}, {5, 37},
                                     {1, 1},  {4, 1040, 1}, {0, 64},    {1, 512 * 8 * 16 + 16}};
  for (const char* kind : {"channel", "tensor"})
    check_weights_on_device(component(), granularity(kind), shapes);
}

TEST_CASE("int8 kernels equal ModelOpt's bytes per channel") {
  check_golden_on_device(component(), {}, "modelopt_int8",
                         {{"payload", "weight"}, {"scale", "weight_scale"}});
}

TEST_CASE("int8 kernels round inputs as the CPU does") {
  for (const char* kind : {"channel", "tensor", "token"}) {
    check_inputs_on_device(component(), granularity(kind),
                           {{3, 208}, {2, 37}, {4, 4112}, {3, 64, 1}});
  }
}

TEST_CASE("int8 kernels keep a NaN in an input, and take it into no range") {
  FakeHost host(FakeHost::On::kEmulatedCuda);
  for (const DLDataType dtype : {kBf16, kF32}) {
    Blob x = random_blob(dtype, {1, 80}, 11);
    TensorRef ref = x.ref();
    visit(reals_out(*ref.get()),
          [](auto* p) { put(std::numeric_limits<float>::quiet_NaN(), p[33]); });
    const float scale = int8::reference::absmax(reals(*ref), 80) / 127.0f;
    const Blob want = round_tripped(int8::reference::round_trip, x, scale);
    for (const char* kind : {"tensor", "token"}) {
      const Quantizer quantizer(host, component(), granularity(kind));
      CHECK(same_numbers(quantizer.quantize_input(MOPT_OPERAND_INPUT, x, nullptr), want));
    }
  }
}

}  // namespace mopt::test
