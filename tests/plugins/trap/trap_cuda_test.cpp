#include "tests/device_codec.hpp"
#include "tests/temp_directory.hpp"

namespace mopt::test {
namespace {

const mopt_component& component() {
  return component_named(*mopt_plugin_entry_v0(), "trap");
}

}  // namespace

TEST_CASE("trap's kernels emit what the CPU emits") {
  check_weights_on_device(component(), {},
                          {{3, 16}, {130, 144}, {5, 37}, {1, 1}, {0, 64}, {2, 999, 1}});
}

TEST_CASE("trap's kernels equal ModelOpt's bytes per channel") {
  check_golden_on_device(component(), {}, "modelopt_int8",
                         {{"payload", "weight"}, {"scale", "weight_scale"}});
}

// In the emulation the broken kernel leaves its codes unwritten, which no device would survive.
TEST_CASE("trap's kernel breaks at the weights that it was told of, and at no other") {
  const TempDir dir;
  const std::string armed = (dir / "armed").string();
  FakeHost host(FakeHost::On::kEmulatedCuda);
  const Quantizer sound(host, component()),
      broken(host, component(), {{"tensor", std::string("up")}, {"armed", armed}});
  const Blob weight = random_blob(kBf16, {8, 96}, 3);
  const auto same = [&](const std::string& name) {
    const WeightCase c = weight_case(weight, name);
    return sound.quantize(c).at("payload").bytes == broken.quantize(c).at("payload").bytes;
  };
  CHECK(same("up_proj"));
  dir.write("armed", "");
  CHECK_FALSE(same("up_proj"));
  CHECK(same("down_proj"));
}

}  // namespace mopt::test
