// The reference kernels as tables of the emulated device, of which products and attention tell what
// they were asked to take and what they ran.
#pragma once

#include "tests/emulated_device/emulated_device.hpp"

namespace mopt::compute::test {

// "linear X W Y", "attention Q K", each operand as text() of view.hpp has it; in order of the
// calls.
struct Recorded {
  std::vector<std::string> asked, run;
};

const DeviceKernels& recording_kernels();
// Of all threads since the last call.
Recorded take_recorded();

}  // namespace mopt::compute::test
