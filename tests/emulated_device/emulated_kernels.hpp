// The kernels of the CUDA part, compiled by the C++ compiler and run by tests/cuda_emulation.hpp,
// as tables of the emulated device. A library of its own: emulation takes long, so shapes have to
// be small.
#pragma once

#include "tests/emulated_device/emulated_device.hpp"

namespace mopt::compute::test {

// The rows of the CUDA part under their names; those on cuBLASLt and cuDNN refuse everything.
const DeviceKernels& emulated_kernels();

}  // namespace mopt::compute::test
