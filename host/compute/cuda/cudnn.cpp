// Attention through the cuDNN part, if it and cuDNN can be loaded.
#include <dlfcn.h>

#include <cstring>
#include <filesystem>

#include "host/compute/cuda/cudnn_part.hpp"
#include "host/compute/cuda/device.hpp"
#include "host/compute/cuda/kernels.hpp"
#include "host/compute/device_library.hpp"

namespace mopt::compute::cuda {
namespace {

struct Loaded {
  const CudnnPart* part = nullptr;
  std::string refusal;  // when there is none
};

// The library beside this one.
Loaded load() {
  Dl_info here{};
  dladdr(reinterpret_cast<const void*>(&cuda_kernels), &here);
  const auto file = std::filesystem::path(here.dli_fname).parent_path() / "libmopt_cudnn.so";
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);  // never closed
  if (library == nullptr) return {nullptr, std::string("cuDNN cannot be loaded: ") + dlerror()};
  const auto* part = static_cast<const CudnnPart*>(dlsym(library, kCudnnPartSymbol));
  if (part == nullptr || std::strcmp(part->build, cuda_part_build()) != 0) {
    return {nullptr, "the cuDNN part " + file.string() + " is of another build"};
  }
  return {part, {}};
}

const Loaded& loaded() {
  static const Loaded once = load();
  return once;
}

}  // namespace

std::string CudaDevice::slow_forward() const {
  if (loaded().part != nullptr) return {};
  return "attention runs without cuDNN, several times slower: " + loaded().refusal;
}

std::string_view attention_cudnn_refuses(const AttentionProblem& p, const DeviceInfo&) {
  if (!is_bf16(p.q)) return "it takes bf16 only";
  if (p.positions) return "it takes the newest positions only";
  if (p.q.elements() == 0) return "it has no elements";
  if (p.q.shape[1] == 1) return "one query alone is no work for it";
  if (p.q.shape[3] % 8 != 0) return "it takes heads of a multiple of 8 only";
  if (reinterpret_cast<uintptr_t>(p.q.data) % 16 != 0 ||
      reinterpret_cast<uintptr_t>(p.k.data) % 16 != 0 ||
      reinterpret_cast<uintptr_t>(p.v.data) % 16 != 0 ||
      reinterpret_cast<uintptr_t>(p.y.data) % 16 != 0) {
    return "its memory is not aligned to 16 bytes";
  }
  if (loaded().part == nullptr) return loaded().refusal;
  return loaded().part->refuses(p);
}

void attention_cudnn(const AttentionProblem& p, Queue& queue) {
  CudaQueue& q = cuda_queue(queue);
  loaded().part->run({p, q.cuda_stream(), [&](int64_t bytes) { return q.workspace(bytes); }});
}

}  // namespace mopt::compute::cuda
