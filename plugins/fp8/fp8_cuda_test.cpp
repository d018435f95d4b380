#include <limits>

#include "fp8.hpp"
#include "tests/device_codec.hpp"

namespace mopt::test {
namespace {

const mopt_component& component() {
  return component_named(*mopt_plugin_entry_v0(), "fp8");
}

const std::map<std::string, std::string> kNames = {{"payload", "weight"},
                                                   {"scale", "weight_scale"}};

// Whole runs of 16 and cut ones, several tiles and cut ones, few and many runs per thread; and
// addresses that allow no vectors.
const std::vector<Shape> kShapes = {{3, 16},      {2, 4112}, {130, 144}, {5, 37},      {257, 129},
                                    {4, 1040, 1}, {1, 1},    {0, 64},    {130, 256, 3}};

}  // namespace

TEST_CASE("fp8 kernels emit what the CPU emits, for every granularity of weights") {
  for (const char* kind : {"tensor", "channel", "block"})
    check_weights_on_device(component(), granularity(kind), kShapes);
}

TEST_CASE("fp8 kernels keep the longest rows in registers, and read longer ones twice") {
  check_weights_on_device(component(), granularity("channel"),
                          {{2, 512 * 4 * 16}, {1, 512 * 4 * 16 + 16}, {1, 512 * 8 * 16 + 16}});
}

TEST_CASE("fp8 kernels equal ModelOpt's bytes per tensor, channel and block") {
  check_golden_on_device(component(), granularity("tensor"), "modelopt_fp8", kNames);
  check_golden_on_device(component(), granularity("channel"), "modelopt_fp8_pc_pt", kNames);
  check_golden_on_device(component(), granularity("block"), "modelopt_fp8_2d", kNames);
}

TEST_CASE("fp8 kernels round inputs and K and V as the CPU does") {
  const std::vector<Shape> shapes = {{3, 208}, {2, 37}, {4, 4112}, {3, 64, 1}, {2, 2, 0}};
  check_inputs_on_device(component(), granularity("tensor"), shapes);
  check_inputs_on_device(component(), granularity("token"), shapes);
}

TEST_CASE("fp8 codes of inputs, times their scales, are the inputs that fp8 rounds to") {
  const std::vector<Shape> shapes = {{3, 208}, {2, 37}, {4, 4112}, {3, 64, 1}, {1, 1}, {1, 9216}};
  check_codes_of_inputs(component(), granularity("tensor"), shapes);
  check_codes_of_inputs(component(), granularity("token"), shapes);
}

TEST_CASE("fp8 kernels take no NaN into the range of an input, and infinity as its end") {
  FakeHost host(FakeHost::On::kEmulatedCuda);
  for (const DLDataType dtype : {kBf16, kF32}) {
    Blob x = random_blob(dtype, {1, 80}, 11);
    TensorRef ref = x.ref();
    visit(reals_out(*ref.get()),
          [](auto* p) { put(std::numeric_limits<float>::quiet_NaN(), p[33]); });
    const float most = fp8::reference::absmax(reals(*ref), 80);
    Blob want = round_tripped(fp8::reference::round_trip, x, most / 448.0f);
    for (const char* kind : {"tensor", "token"}) {
      const Quantizer quantizer(host, component(), granularity(kind));
      CHECK(same_numbers(quantizer.quantize_input(MOPT_OPERAND_INPUT, x, nullptr), want));
    }
    visit(reals_out(*ref.get()), [](auto* p) {
      put(-std::numeric_limits<float>::infinity(), p[5]);
      put(1e38f, p[6]);
    });
    const float scale = 1e-20f;
    want = round_tripped(fp8::reference::round_trip, x, scale);
    const Quantizer tensor(host, component(), granularity("tensor"));
    CHECK(same_numbers(tensor.quantize_input(MOPT_OPERAND_INPUT, x, &scale), want));
  }
}

}  // namespace mopt::test
