// add and mul: y = a + b or a * b for every element, computed in fp32 and rounded once.
#pragma once

#include "host/compute/dispatch.hpp"
#include "host/compute/view.hpp"

namespace mopt::compute {

// a, b and y: one shape and type; y may be a or b.
void add(const View& a, const View& b, const View& y, const Options& options = {});
void mul(const View& a, const View& b, const View& y, const Options& options = {});

enum class Elementwise { kAdd, kMul };
struct ElementwiseProblem {
  Elementwise kind;
  View a, b, y;
};
std::vector<std::string_view> elementwise_kernels();
void elementwise_highway(const ElementwiseProblem&);
void elementwise_reference(const ElementwiseProblem&);

}  // namespace mopt::compute
