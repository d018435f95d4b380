#include "host/compute/device_library.hpp"

#include <dlfcn.h>

#include <cstring>

#include "mopt/error.hpp"

namespace mopt::compute {

namespace fs = std::filesystem;

namespace {

// Looked at before the CUDA part is loaded, whose libraries take a hundred megabytes of memory.
void require_driver() {
  void* driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);  // never closed, as below
  if (driver == nullptr) {
    throw Error(MOPT_DEVICE,
                "no NVIDIA driver is here (libcuda.so.1); install one, or use --device cpu");
  }
  using Init = int (*)(unsigned);
  using Count = int (*)(int*);
  const auto init = reinterpret_cast<Init>(dlsym(driver, "cuInit"));
  const auto count = reinterpret_cast<Count>(dlsym(driver, "cuDeviceGetCount"));
  constexpr int kNoDevice = 100;  // CUDA_ERROR_NO_DEVICE
  int devices = 0;
  int answer = init == nullptr || count == nullptr ? -1 : init(0);
  if (answer == 0) answer = count(&devices);
  if (answer == 0 && devices > 0) return;
  throw Error(
      MOPT_DEVICE,
      (answer == 0 || answer == kNoDevice
           ? std::string("the driver is here (libcuda.so.1), but no device is visible to it")
           : "the driver (libcuda.so.1) refuses with error " + std::to_string(answer)) +
          "; look at nvidia-smi and CUDA_VISIBLE_DEVICES, or use --device cpu");
}

fs::path part_beside(const fs::path& executable) {
  return executable.parent_path().parent_path() / "lib/mopt/libmopt_cuda.so";
}

}  // namespace

bool cuda_may_open(const fs::path& executable) {
  std::error_code failed;
  return fs::exists(part_beside(executable), failed) && fs::exists("/dev/nvidiactl", failed);
}

const char* cuda_part_build() {
  return MOPT_BUILD_ID " " __VERSION__;
}

Device& open_cuda(const fs::path& executable, int index) {
  const fs::path file = part_beside(executable);
  std::error_code failed;
  if (!fs::exists(file, failed)) {
    throw Error(MOPT_NOT_FOUND, "this build has no CUDA part (searched: " + file.string() +
                                    "); build with nvcc, or use --device cpu");
  }
  require_driver();
  // Never closed: the driver's threads and destructors outlive every use.
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    throw Error(MOPT_NOT_FOUND, std::string("the CUDA part cannot be loaded: ") + dlerror() +
                                    "; put the CUDA libraries that it names into the library path");
  }
  const auto* part = static_cast<const CudaPart*>(dlsym(library, kCudaPartSymbol));
  if (part == nullptr || std::strcmp(part->build, cuda_part_build()) != 0) {
    throw Error(MOPT_NOT_FOUND, "the CUDA part " + file.string() + " is of another build (" +
                                    (part == nullptr ? "unknown" : part->build) + ", expected " +
                                    cuda_part_build() + "); install both from one build");
  }
  return *part->open(index);
}

}  // namespace mopt::compute
