#include "host/compute/architectures.hpp"

#include <doctest/doctest.h>

using namespace mopt::compute;

namespace {

// What the release is built for.
constexpr const char* kRelease = "80-real,89-real,90a-real,100-real,120";

bool served(std::string_view architectures, int capability) {
  return why_not_served(architectures, 80, "device", capability).empty();
}

}  // namespace

// From CUDA's tables of compatibility: 8.6 and 8.7 run 8.0's code, 9.0a's is of 9.0 alone, 10.3
// runs 10.0's, 12.1 and all later ones translate 12.0's PTX.
TEST_CASE("devices are served by code of their major version, or by PTX of an earlier one") {
  for (const int capability : {80, 86, 87, 89, 90, 100, 103, 120, 121, 130}) {
    CAPTURE(capability);
    CHECK(served(kRelease, capability));
  }
  for (const int capability : {50, 70, 75, 110}) {
    CAPTURE(capability);
    CHECK_FALSE(served(kRelease, capability));
  }
}

TEST_CASE("a list of one architecture serves what can run its code") {
  CHECK(served("90a-real", 90));
  CHECK_FALSE(served("90a-real", 100));
  CHECK_FALSE(served("90a", 91));
  CHECK_FALSE(served("90a-real", 89));
  CHECK(served("80-virtual", 120));
  CHECK_FALSE(served("80-real", 90));
  CHECK(served("100f-real", 103));
  CHECK_FALSE(served("100f", 120));
  CHECK_FALSE(served("100f", 99));
  CHECK(served("native", 90));
  CHECK(served("", 90));
}

TEST_CASE("a device older than our kernels need is never served") {
  CHECK_FALSE(served("70-real,80", 75));
  CHECK_FALSE(served("native", 75));
}

TEST_CASE("the refusal names the device, what it has, what is served and what to do") {
  CHECK(why_not_served(kRelease, 80, "Tesla T4", 75) ==
        "Tesla T4 has compute capability 7.5, the oldest that this build serves is 8.0; use "
        "--device cpu");
  CHECK(why_not_served("90a-real", 80, "NVIDIA A100", 80) ==
        "NVIDIA A100 has compute capability 8.0, the oldest that this build serves is 9.0; use "
        "--device cpu");
  CHECK(why_not_served("80-real,90a-real", 80, "NVIDIA B200", 100) ==
        "NVIDIA B200 has compute capability 10.0, this build has code for 8.0, 9.0; build with it "
        "in CMAKE_CUDA_ARCHITECTURES, or use --device cpu");
}
