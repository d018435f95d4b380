#include "fault.hpp"
#include "tests/codec_golden.hpp"
#include "tests/temp_directory.hpp"

namespace mopt::test {
namespace {

const mopt_component& component() {
  return component_named(*mopt_plugin_entry_v0(), "trap");
}

}  // namespace

TEST_CASE("trap on the CPU emits int8's bytes per channel, whatever is armed") {
  const TempDir dir;
  const std::string armed = (dir / "armed").string();
  dir.write("armed", "");
  FakeHost host;
  for (const std::vector<Option>& options :
       {std::vector<Option>{}, {{"tensor", std::string("w")}, {"armed", armed}}}) {
    const Quantizer quantizer(host, component(), options);
    for (const CodecCase& c : codec_cases("modelopt_int8")) {
      CAPTURE(c.matrix);
      const auto got = quantizer.quantize(weight_case(c.input));
      CHECK(got.at("payload").bytes == c.expected.at("weight").bytes);
      CHECK(got.at("scale").bytes == c.expected.at("weight_scale").bytes);
      check_dequant(quantizer.dequantize(got, c.rows(), c.cols()), c.expected.at("dequant"));
    }
  }
}

TEST_CASE("trap breaks at the weights that it was told of, while its file is there") {
  const TempDir dir;
  const std::string armed = (dir / "armed").string();
  const trap::Fault fault{"layers.2.", armed};
  const std::string there = "model.layers.2.mlp.up_proj.weight";
  CHECK_FALSE(fault.hits(there));
  dir.write("armed", "");
  CHECK(fault.hits(there));
  CHECK_FALSE(fault.hits("model.layers.12.mlp.up_proj.weight"));
  CHECK_FALSE(trap::Fault{"", armed}.hits(there));
  CHECK_FALSE(trap::Fault{"layers.2.", ""}.hits(there));
  REQUIRE(std::filesystem::remove(armed));
  CHECK_FALSE(fault.hits(there));
}

TEST_CASE("an all-zero weight of trap has scale 1, zero codes and a warning with its name") {
  check_zero_weight(component(), {});
}

}  // namespace mopt::test
