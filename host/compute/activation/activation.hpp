// activation: y = f(x) for every element, computed in fp32 and rounded once.
#pragma once

#include "host/compute/dispatch.hpp"
#include "host/compute/view.hpp"

namespace mopt::compute {

enum class Activation { kSilu, kGelu, kGeluTanh, kRelu };

// "silu", "gelu" (with erf), "gelu_tanh", "relu".
Activation activation_kind(std::string_view name);
// The reference's rule, in fp32.
float activated(Activation, float x);

struct ActivationProblem {
  Activation kind;
  View x, y;  // one shape and type; y may be x
};

void activation(const ActivationProblem& problem, const Options& options = {});

std::vector<std::string_view> activation_kernels();
void activation_highway(const ActivationProblem&);
void activation_reference(const ActivationProblem&);

}  // namespace mopt::compute
