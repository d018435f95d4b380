#include "tests/device_codec.hpp"

namespace mopt::test {
namespace {

const mopt_component& component() {
  return component_named(*mopt_plugin_entry_v0(), "int4");
}

std::vector<Option> block(int64_t size) {
  return {{"block", size}};
}

}  // namespace

TEST_CASE("int4 kernels emit what the CPU emits, in blocks of one lane to a warp and odd ones") {
  for (const int64_t size : {16, 32, 64, 128, 256, 512, 1024, 18, 24, 48, 100}) {
    CAPTURE(size);
    check_weights_on_device(component(), block(size), {{3, size}, {7, 3 * size}, {3, 2 * size, 2}});
  }
}

TEST_CASE("int4 kernels equal ModelOpt's scales and values in blocks of 128 and of 32") {
  const std::map<std::string, std::string> names = {{"scale", "weight_scale"}};
  check_golden_on_device(component(), block(128), "modelopt_int4_b128", names);
  check_golden_on_device(component(), block(32), "modelopt_int4_b32", names);
}

}  // namespace mopt::test
