#include "host/compute/elementwise/elementwise.hpp"

#include "host/compute/device_kernels.hpp"
#include "host/compute/simd.hpp"

#include <array>

namespace mopt::compute {
namespace {

constexpr std::array kKernels{
    Kernel<ElementwiseProblem>{"elementwise.highway", need_simd<ElementwiseProblem>,
                               elementwise_highway},
    Kernel<ElementwiseProblem>{"elementwise.reference", accept_any<ElementwiseProblem>,
                               elementwise_reference},
};

void run(std::string_view op, const ElementwiseProblem& p, const Options& options) {
  require(is_f32(p.a) || is_bf16(p.a), op, "operands in f32 or bf16", p.a);
  for (const View* other : {&p.b, &p.y}) {
    require(other->elements() == p.a.elements() && same(other->dtype, p.a.dtype), op,
            "an operand like " + text(p.a), *other);
  }
  if (options.queue != nullptr) return run_on_device(&DeviceKernels::elementwise, p, options);
  run_on_cpu(kKernels, p, options);
}

}  // namespace

void add(const View& a, const View& b, const View& y, const Options& options) {
  run("add", {Elementwise::kAdd, a, b, y}, options);
}

void mul(const View& a, const View& b, const View& y, const Options& options) {
  run("mul", {Elementwise::kMul, a, b, y}, options);
}

std::vector<std::string_view> elementwise_kernels() {
  return names(kKernels);
}

}  // namespace mopt::compute
