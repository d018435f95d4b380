#include "magnitude.hpp"

namespace mopt::magnitude {
namespace {

// Bits of |x|, which order like the magnitudes.
uint32_t order(float x) {
  return std::bit_cast<uint32_t>(x) & 0x7FFFFFFFu;
}
uint16_t order(Bf16 x) {
  return x.bits & 0x7FFFu;
}
uint16_t order(F16 x) {
  return x.bits & 0x7FFFu;
}

// An element stays when fewer than n others come before it. Without branches, and with m known to
// the compiler for 2:4, this becomes vector code.
template <class T>
void mask_group(const T* x, Pattern pattern, uint8_t* mask) {
  for (int64_t i = 0; i < pattern.m; ++i) {
    int before = 0;
    for (int64_t j = 0; j < i; ++j)
      before += order(x[j]) >= order(x[i]);
    for (int64_t j = i + 1; j < pattern.m; ++j)
      before += order(x[j]) > order(x[i]);
    mask[i] = before < pattern.n;
  }
}

template <class T>
void mask_2_of_4(const T* x, int64_t count, uint8_t* mask) {
  for (int64_t g = 0; g < count; ++g, x += 4, mask += 4) {
    const auto a = order(x[0]), b = order(x[1]), c = order(x[2]), d = order(x[3]);
    // Each comparison tells which of two comes first; three per element.
    const int ab = a >= b, ac = a >= c, ad = a >= d, bc = b >= c, bd = b >= d, cd = c >= d;
    mask[0] = ab + ac + ad >= 2;
    mask[1] = 1 - ab + bc + bd >= 2;
    mask[2] = 2 - ac - bc + cd >= 2;
    mask[3] = 3 - ad - bd - cd >= 2;
  }
}

}  // namespace

void mask(Reals x, int64_t count, Pattern pattern, uint8_t* mask) {
  visit(x, [&](const auto* p) {
    if (pattern.n == 2 && pattern.m == 4) return mask_2_of_4(p, count, mask);
    for (int64_t g = 0; g < count; ++g) {
      mask_group(p + g * pattern.m, pattern, mask + g * pattern.m);
    }
  });
}

}  // namespace mopt::magnitude
