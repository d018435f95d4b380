#include "fp8.hpp"
#include "mopt/numeric/e4m3.hpp"
#include "mopt/numeric/range.hpp"

namespace mopt::fp8::reference {

float absmax(Reals x, int64_t n) {
  return visit(x, [n](const auto* p) { return absmax_of(p, n); });
}

void encode(Reals x, int64_t n, Divisor by, uint8_t* codes) {
  visit(x, [&]<class T>(const T* p) {
    for (int64_t i = 0; i < n; ++i) {
      const float exact = to_float(p[i]) / by.scale;
      codes[i] = e4m3::encode(by.quotient == Quotient::kSourceType ? round_to<T>(exact) : exact);
    }
  });
}

void decode(const uint8_t* codes, int64_t n, float scale, RealsOut out) {
  visit(out, [&](auto* to) {
    for (int64_t i = 0; i < n; ++i)
      put(e4m3::decode(codes[i]) * scale, to[i]);
  });
}

void round_trip(Reals x, int64_t n, float scale, RealsOut out) {
  visit(x, [&](const auto* p) {
    visit(out, [&](auto* to) {
      for (int64_t i = 0; i < n; ++i) {
        put(e4m3::decode(e4m3::encode(to_float(p[i]) / scale)) * scale, to[i]);
      }
    });
  });
}

}  // namespace mopt::fp8::reference
