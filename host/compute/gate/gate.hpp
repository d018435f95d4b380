// gate: y = f(x) * up for every element, as activation and mul one after the other: f(x) is rounded
// to the type before the product. The same bits in one pass over memory.
#pragma once

#include "host/compute/activation/activation.hpp"
#include "host/compute/dispatch.hpp"
#include "host/compute/view.hpp"

namespace mopt::compute {

struct GateProblem {
  Activation kind;
  View x, up, y;  // one shape and type; y may be x or up
  // On a device, when not null: raised by y as range (range.hpp) would.
  uint32_t* range_parts = nullptr;
};

void gate(const GateProblem& problem, const Options& options = {});

std::vector<std::string_view> gate_kernels();
void gate_highway(const GateProblem&);
void gate_reference(const GateProblem&);

}  // namespace mopt::compute
