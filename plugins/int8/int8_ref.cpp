#include "int8.hpp"
#include "mopt/numeric/int8.hpp"
#include "mopt/numeric/range.hpp"

namespace mopt::int8::reference {

float absmax(Reals x, int64_t n) {
  return visit(x, [n](const auto* p) { return absmax_of(p, n); });
}

void encode(Reals x, int64_t n, float scale, int8_t* codes) {
  visit(x, [&](const auto* p) {
    for (int64_t i = 0; i < n; ++i)
      codes[i] = int8::encode(to_float(p[i]) / scale);
  });
}

void decode(const int8_t* codes, int64_t n, float scale, RealsOut out) {
  visit(out, [&](auto* to) {
    for (int64_t i = 0; i < n; ++i)
      put(int8::decode(codes[i]) * scale, to[i]);
  });
}

void round_trip(Reals x, int64_t n, float scale, RealsOut out) {
  visit(x, [&](const auto* p) {
    visit(out, [&](auto* to) {
      for (int64_t i = 0; i < n; ++i)
        put(int8::round(to_float(p[i]) / scale) * scale, to[i]);
    });
  });
}

}  // namespace mopt::int8::reference
