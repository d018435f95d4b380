#include "int8.hpp"

// AVX2 and AVX-512 on x86; a machine without them runs the reference.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "int8.cpp"
#include "hwy/foreach_target.h"  // must come before lanes-inl.hpp
#include "mopt/numeric/lanes-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace mopt::int8::HWY_NAMESPACE {
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

template <class T, class Divide>
HWY_INLINE void encode_pairs(const T* p, int64_t n, uint8_t* codes, const Divide& divide) {
  for (int64_t i = 0; i < n; i += pair_size()) {
    const Pair x = load_pair(p + i);
    store_codes({encode_int8(divide(x.even)), encode_int8(divide(x.odd))}, codes + i);
  }
}

void encode(Reals x, int64_t n, float scale, int8_t* codes) {
  const int64_t body = whole_pairs(n);
  visit(x, [&](const auto* p) {
    with_divider(p, scale, [&](const auto& divide) HWY_ATTR {
      encode_pairs(p, body, reinterpret_cast<uint8_t*>(codes), divide);
    });
  });
  reference::encode(offset(x, body), n - body, scale, codes + body);
}

struct Codec {
  static HWY_INLINE F decode(W code) { return decode_int8(code); }
  static HWY_INLINE F round(F quotient, F) { return round_int8(quotient); }
};

void decode(const int8_t* codes, int64_t n, float scale, RealsOut out) {
  const int64_t body = decode_run<Codec>(reinterpret_cast<const uint8_t*>(codes), n, scale, out);
  reference::decode(codes + body, n - body, scale, offset(out, body));
}

void round_trip(Reals x, int64_t n, float scale, RealsOut out) {
  const int64_t body = round_trip_run<Codec>(x, n, scale, out);
  reference::round_trip(offset(x, body), n - body, scale, offset(out, body));
}

#endif
}  // namespace mopt::int8::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mopt::int8 {

HWY_EXPORT(absmax);
HWY_EXPORT(encode);
HWY_EXPORT(decode);
HWY_EXPORT(round_trip);

float absmax(Reals x, int64_t n) {
  return HWY_DYNAMIC_DISPATCH(absmax)(x, n);
}
void encode(Reals x, int64_t n, float scale, int8_t* codes) {
  HWY_DYNAMIC_DISPATCH(encode)(x, n, scale, codes);
}
void decode(const int8_t* codes, int64_t n, float scale, RealsOut out) {
  HWY_DYNAMIC_DISPATCH(decode)(codes, n, scale, out);
}
void round_trip(Reals x, int64_t n, float scale, RealsOut out) {
  HWY_DYNAMIC_DISPATCH(round_trip)(x, n, scale, out);
}

}  // namespace mopt::int8
#endif
