// What the host finds in this library.
#include <cuda_runtime.h>

#include <memory>

#include "host/compute/architectures.hpp"
#include "host/compute/cuda/check.hpp"
#include "host/compute/cuda/device.hpp"
#include "host/compute/cuda/kernels.hpp"
#include "host/compute/device_library.hpp"

namespace mopt::compute {

const char* cuda_part_build() {
  return MOPT_BUILD_ID " " __VERSION__;
}

namespace cuda {
namespace {

constexpr int kOldest = 80;  // Ampere: bf16 products

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

[[noreturn]] void not_usable(const std::string& what, const std::string& remedy) {
  throw Error(MOPT_DEVICE, what + "; " + remedy);
}

void check_driver() {
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  // Newer minor versions of one major version run on an older driver.
  if (driver / 1000 < runtime / 1000) {
    not_usable(
        "the driver speaks CUDA " + version_text(driver) + ", expected " + version_text(runtime),
        "update the driver, or use --device cpu");
  }
}

// Makes the process's context. What other processes do with the device shows here.
void claim(const DeviceInfo& info) {
  const std::string what = info.name + " cannot be used";
  const auto claimed = [&](cudaError_t status) {
    if (status == cudaErrorDevicesUnavailable || status == cudaErrorDeviceAlreadyInUse)
      not_usable(what + ": another process has it for itself",
                 "wait for that one, choose another with --device cuda:N, or use --device cpu");
    if (status == cudaErrorMemoryAllocation)
      not_usable(what + ": other processes left no memory on it",
                 "stop one, choose another with --device cuda:N, or use --device cpu");
    check(status, what.c_str());
  };
  claimed(cudaSetDevice(info.index));
  // Waiting threads sleep.
  claimed(cudaInitDevice(info.index, cudaDeviceScheduleBlockingSync, cudaInitDeviceFlagsAreValid));
  claimed(cudaFree(nullptr));
}

Device* open(int index) {
  check_driver();
  int count = 0;  // the host has seen that there are some
  check(cudaGetDeviceCount(&count), "the driver refuses its devices");
  if (index >= count) {
    not_usable("there is no CUDA device " + std::to_string(index) + "; " + std::to_string(count) +
                   (count == 1 ? " is here, cuda:0" : " are here"),
               "choose one of them");
  }
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, index), "the device tells nothing of itself");
  int driver = 0;
  cudaDriverGetVersion(&driver);
  DeviceInfo info{kDLCUDA,
                  index,
                  properties.name,
                  "CUDA " + version_text(driver),
                  properties.major * 10 + properties.minor,
                  static_cast<int64_t>(properties.totalGlobalMem)};
  const std::string refusal =
      why_not_served(MOPT_CUDA_ARCHITECTURES, kOldest, info.name, info.capability);
  if (!refusal.empty()) throw Error(MOPT_DEVICE, refusal);
  claim(info);
  return new CudaDevice(std::move(info));  // lives as long as the process
}

}  // namespace

const DeviceKernels& CudaDevice::kernels() const {
  return cuda_kernels();
}

}  // namespace cuda
}  // namespace mopt::compute

extern "C" __attribute__((visibility("default"))) const mopt::compute::CudaPart mopt_cuda_part;
const mopt::compute::CudaPart mopt_cuda_part{MOPT_BUILD_ID " " __VERSION__,
                                             mopt::compute::cuda::open};
