// N:M sparsity by magnitude: of every m consecutive elements of a row the n largest stay. For 2:4
// this keeps the pattern of largest sum of magnitudes, as ASP (arXiv 2104.08378) chooses it.
#pragma once

#include <cstdint>

#include "mopt/numeric/reals.hpp"

namespace mopt::magnitude {

struct Pattern {
  int64_t n, m;  // 0 < n < m <= kLargestGroup
};
inline constexpr int64_t kLargestGroup = 32;

// x [count * m] -> mask [count * m], 1 = kept. Of equal magnitudes the earlier one stays.
void mask(Reals x, int64_t count, Pattern pattern, uint8_t* mask);

}  // namespace mopt::magnitude
