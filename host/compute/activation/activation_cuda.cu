#include <array>

#include "host/compute/activation/activation.cuh"
#include "host/compute/cuda/kernels.hpp"
#include "host/compute/cuda/map.cuh"

namespace mopt::compute::cuda {
namespace {

void run(const ActivationProblem& p, Queue& queue) {
  by_dtype("activation", p.x, [&]<class T>(T*) {
    with_activation(p.kind, [&](auto f) {
      run_map_one(static_cast<const T*>(p.x.data), p.y.as<T>(), p.x.elements(), queue, f);
    });
  });
}

constexpr std::array kRows{DeviceKernel<ActivationProblem>{
    "activation.cuda", accept_any_on_device<ActivationProblem>, run}};

}  // namespace

DeviceRows<ActivationProblem> activation_rows() {
  return kRows;
}

}  // namespace mopt::compute::cuda
