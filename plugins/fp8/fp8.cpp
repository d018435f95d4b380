#include "fp8.hpp"

// AVX2 and AVX-512 on x86; a machine without them runs the reference.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "fp8.cpp"
#include "hwy/foreach_target.h"  // must come before lanes-inl.hpp
#include "mopt/numeric/lanes-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace mopt::fp8::HWY_NAMESPACE {
#if MOPT_NO_LANES

using reference::absmax;
using reference::decode;
using reference::encode;
using reference::round_trip;

#else

using namespace mopt::HWY_NAMESPACE;  // NOLINT: the vector functions of lanes-inl.hpp

float absmax(Reals x, int64_t n) {
  return visit(x, [n](const auto* p) { return mopt::HWY_NAMESPACE::absmax(p, n); });
}

template <class T, class Divide, class Round>
HWY_INLINE void encode_pairs(const T* p, int64_t n, uint8_t* codes, const Divide& divide,
                             const Round& round) {
  for (int64_t i = 0; i < n; i += pair_size()) {
    const Pair x = load_pair(p + i);
    store_codes(
        {encode_e4m3(round(divide(x.even)), x.even), encode_e4m3(round(divide(x.odd)), x.odd)},
        codes + i);
  }
}

void encode(Reals x, int64_t n, Divisor by, uint8_t* codes) {
  const int64_t body = whole_pairs(n);
  visit(x, [&](const auto* p) {
    with_divider(p, by.scale, [&](const auto& divide) HWY_ATTR {
      if (by.quotient == Quotient::kSourceType) {
        encode_pairs(p, body, codes, divide, [p](F q) HWY_ATTR { return round_as(q, p); });
      } else {
        encode_pairs(p, body, codes, divide, [](F q) HWY_ATTR { return q; });
      }
    });
  });
  reference::encode(offset(x, body), n - body, by, codes + body);
}

struct Codec {
  static HWY_INLINE F decode(W code) { return decode_e4m3_or_nan(code); }
  static HWY_INLINE F round(F quotient, F x) { return round_e4m3(quotient, x); }
};

void decode(const uint8_t* codes, int64_t n, float scale, RealsOut out) {
  const int64_t body = decode_run<Codec>(codes, n, scale, out);
  reference::decode(codes + body, n - body, scale, offset(out, body));
}

void round_trip(Reals x, int64_t n, float scale, RealsOut out) {
  const int64_t body = round_trip_run<Codec>(x, n, scale, out);
  reference::round_trip(offset(x, body), n - body, scale, offset(out, body));
}

#endif
}  // namespace mopt::fp8::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mopt::fp8 {

HWY_EXPORT(absmax);
HWY_EXPORT(encode);
HWY_EXPORT(decode);
HWY_EXPORT(round_trip);

float absmax(Reals x, int64_t n) {
  return HWY_DYNAMIC_DISPATCH(absmax)(x, n);
}
void encode(Reals x, int64_t n, Divisor by, uint8_t* codes) {
  HWY_DYNAMIC_DISPATCH(encode)(x, n, by, codes);
}
void decode(const uint8_t* codes, int64_t n, float scale, RealsOut out) {
  HWY_DYNAMIC_DISPATCH(decode)(codes, n, scale, out);
}
void round_trip(Reals x, int64_t n, float scale, RealsOut out) {
  HWY_DYNAMIC_DISPATCH(round_trip)(x, n, scale, out);
}

}  // namespace mopt::fp8
#endif
