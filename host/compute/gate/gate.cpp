#include "host/compute/gate/gate.hpp"

#include "host/compute/device_kernels.hpp"
#include "host/compute/simd.hpp"

#include <array>

namespace mopt::compute {
namespace {

constexpr std::array kKernels{
    Kernel<GateProblem>{"gate.highway", need_simd<GateProblem>, gate_highway},
    Kernel<GateProblem>{"gate.reference", accept_any<GateProblem>, gate_reference},
};

}  // namespace

void gate(const GateProblem& p, const Options& options) {
  require(is_f32(p.x) || is_bf16(p.x), "gate", "an input in f32 or bf16", p.x);
  for (const View* other : {&p.up, &p.y}) {
    require(other->elements() == p.x.elements() && same(other->dtype, p.x.dtype), "gate",
            "an operand like " + text(p.x), *other);
  }
  if (options.queue != nullptr) return run_on_device(&DeviceKernels::gate, p, options);
  require(p.range_parts == nullptr, "gate", "no parts of a range on the CPU", p.y);
  run_on_cpu(kKernels, p, options);
}

std::vector<std::string_view> gate_kernels() {
  return names(kKernels);
}

}  // namespace mopt::compute
