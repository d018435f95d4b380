// Whether this CPU has vectors that the Highway kernels are compiled for.
#pragma once

#include <string_view>

namespace mopt::compute {

bool has_simd();

template <class Problem>
std::string_view need_simd(const Problem&) {
  return has_simd() ? "" : "this CPU has none of the instruction sets it is compiled for";
}

}  // namespace mopt::compute
