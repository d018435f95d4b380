#include <array>

#include "host/compute/cuda/kernels.hpp"
#include "host/compute/cuda/map.cuh"

namespace mopt::compute::cuda {
namespace {

struct Same {
  __device__ float operator()(float x) const { return x; }
};

void run(const CastProblem& p, Queue& queue) {
  by_real(p.x, [&](const auto* x) {
    visit(RealsOut{p.y.data, real_type(p.y.dtype)},
          [&](auto* y) { run_map_one(x, y, p.x.elements(), queue, Same()); });
  });
}

constexpr std::array kRows{
    DeviceKernel<CastProblem>{"cast.cuda", accept_any_on_device<CastProblem>, run}};

}  // namespace

DeviceRows<CastProblem> cast_rows() {
  return kRows;
}

}  // namespace mopt::compute::cuda
