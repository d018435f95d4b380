// Finds the CUDA part of this program, a shared library of its own, and opens a device with it.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "host/compute/device.hpp"

namespace mopt::compute {

// What the shared library exports, as `mopt_cuda_part`.
struct CudaPart {
  const char* build;  // of the program it belongs to: the same source and compiler
  // Throws mopt::Error with what is missing: a driver, a device, a newer one.
  Device* (*open)(int index);
};
inline constexpr const char* kCudaPartSymbol = "mopt_cuda_part";
// The build that both sides must share.
const char* cuda_part_build();

// Whether `open_cuda` has a chance, without opening or loading anything: the library is there and
// a driver has made its devices.
bool cuda_may_open(const std::filesystem::path& executable);

// Opens CUDA device `index` with the library beside `executable` (../lib/mopt). The device lives as
// long as the process. Throws mopt::Error (NOT_FOUND: no such library; DEVICE: the driver's or the
// device's fault, in one sentence).
Device& open_cuda(const std::filesystem::path& executable, int index);

}  // namespace mopt::compute
